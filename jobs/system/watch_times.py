"""The times of the three watches over the process that runs a deployment.

A worker runs each deployment in a child process, its *holder*: the database has a lease in its
name while it works. A holder can be killed, be stopped by SIGSTOP or a freezer, lose its parent,
or hang on a machine that sleeps. Then somebody else must end its deployment, and must be sure that
it does nothing more: two holders of one app would both move its traffic. Every record proves the
lease's fence, so a late record is refused. What a late holder does outside the database is not,
and that is why the times below fit together. Nothing may take longer than the 60 s that Keystone
promises.

**The lease** (`jobs.deployment.lease`). A thread of the holder renews it every `RENEW_EVERY_S`; it
lasts `LEASE`, three renewals. The watcher looks every `TAKE_BACK_EVERY_S`. It takes back at once
what belongs to a holder that is certainly gone: a process of this machine that is not there, or
one whose worker has said so. Any other lease must have run out, and its holder must fail the
second look.

**The second look** (`jobs.deployment.lease.SecondLook`). A locked database, a sleeping machine and
a clock put forward make all leases run out at once, though their holders live. So nobody acts at
the first look: a lease must be as late, and unchanged, `SECOND_LOOK_AFTER_S` later. That is longer
than the pause between two renewals, so that a holder which can write again has renewed by then.
Both the watcher and the worker look twice.

**The heartbeat** (`jobs.worker`). Every `HEARTBEAT_EVERY_S` the worker tells Redis that its child
is at work, and looks at it. It kills a child that has missed two renewals, and another one until
the second look; and a child that the kernel calls stopped at `LONG_LOOKS` looks in a row, which
finds one without a lease too. A killed child's lease is given up at once. The worker acts before
the watcher takes back a lease that has run out: when another takes the app, the child that had it
is dead. When the worker itself is to stop, its child has `HAND_OVER_AFTER_S` to end what is nearly
done, and then puts the deployment back into the queue; `keystone up` kills after `WORK_STOP_S`.

The supervisor looks every `SUPERVISOR_LOOKS_EVERY_S` at stopped processes only, also at the worker
and the watcher. One that holds a lock others wait for (`jobs.system.stopped`) is killed at the
`HOLDERS_LOOKS`th look, long before a lease runs out; one that nobody can replace at the
`LONG_LOOKS`th.

| a holder that is | who acts | after seconds |
|---|---|---|
| killed, its worker lives | the worker gives the lease up, the watcher takes it back | 0-5 |
| killed with its worker, same machine | the watcher sees that it is not there | 0-5 |
| stopped with a lock that others need | the supervisor kills it | 5-10 |
| stopped, its worker lives | the worker kills it | 16-22 |
| silent, on another machine | the watcher takes the lease back | 25-30 |
"""

from datetime import timedelta

LEASE = timedelta(seconds=15)
RENEW_EVERY_S = 5.0
TAKE_BACK_EVERY_S = 5.0
SECOND_LOOK_AFTER_S = RENEW_EVERY_S + 1
HEARTBEAT_EVERY_S = 4
LOCKED_AT_MOST_S = 2.0  # how long a heartbeat waits for a locked database
SUPERVISOR_LOOKS_EVERY_S = 5  # supervisord's own TICK_5
HOLDERS_LOOKS, LONG_LOOKS = 2, 5
HAND_OVER_AFTER_S = 8.0
# Long enough for a worker to make the step it is at safe, and for the watcher's duties to end.
WORK_STOP_S = 30
