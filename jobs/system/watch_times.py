"""The timings of the three monitors of the process that runs a deployment.

A worker runs each deployment in a child process, its *holder*, which owns a lease in the database
while it works. A holder can be killed, be stopped by SIGSTOP or a freezer, lose its parent, or hang
on a machine that sleeps. Then another process must end the deployment, and must be sure that the
holder does nothing more: two holders of one app would both switch its traffic. Every write checks
the lease's fence, so a late write is refused. A late holder's effects outside the database are not
refused, so the timings below must fit together. No recovery may take longer than the 60 s that
Keystone promises.

**The lease** (`jobs.deployment.lease`). A thread of the holder renews it every `RENEW_EVERY_S`; it
lasts `LEASE`, three renewals. The watcher checks all leases every `TAKE_BACK_EVERY_S`. It takes
back at once the lease of a holder that is certainly dead: a process of this machine that does not
exist, or one whose worker has reported its death. Any other lease must have expired, and must also
fail the second look.

**The second look** (`jobs.deployment.lease.SecondLook`). After a database lock, a sleep of the
machine or a forward jump of the clock, all leases have expired at once, although their holders are
alive. So no process acts at the first look: `SECOND_LOOK_AFTER_S` later, a lease must still be
expired and unchanged. That is longer than the interval of renewals, so a holder that can write
again has renewed its lease by then. Both the watcher and the worker look twice.

**The heartbeat** (`jobs.worker`). Every `HEARTBEAT_EVERY_S` the worker tells Redis that its child
is working, and checks the child. It kills a child that has missed two renewals, and another renewal
until the second look. It also kills a child that the kernel reports as stopped at `LONG_LOOKS`
consecutive checks, even if the child has no lease. A killed child's lease is released at once. The
worker acts before the watcher takes back an expired lease: when another holder takes over the app,
the previous one is dead. When the worker itself must stop, its child has `HAND_OVER_AFTER_S` to
finish work that is nearly done, and then puts the deployment back into the queue; `keystone up`
kills the worker after `WORK_STOP_S`.

The supervisor checks every `SUPERVISOR_LOOKS_EVERY_S` for stopped processes only, including the
worker and the watcher. It kills one that holds a lock others need (`jobs.system.stopped`) at the
`HOLDERS_LOOKS`th check, long before a lease expires, and one that no other process can replace at
the `LONG_LOOKS`th check.

| a holder that is | who acts | after seconds |
|---|---|---|
| killed, its worker lives | the worker releases the lease, the watcher takes it back | 0-5 |
| killed with its worker, same machine | the watcher sees that it does not exist | 0-5 |
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
HOLDERS_LOOKS, LONG_LOOKS = 2, 5  # consecutive checks
HAND_OVER_AFTER_S = 8.0
# Long enough for a worker to bring its current step into a safe state, and for the watcher's duties
# to end.
WORK_STOP_S = 30
