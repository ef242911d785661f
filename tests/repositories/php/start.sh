#!/bin/sh
set -e
cron
exec php -S 0.0.0.0:80 -t public
