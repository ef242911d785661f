<?php
// Counts the uploads, and says what cron did.
if ($_SERVER['REQUEST_METHOD'] === 'POST') {
    file_put_contents('/var/www/uploads/' . uniqid() . '.txt', 'a picture');
}
echo count(glob('/var/www/uploads/*.txt')), " uploads\n";
echo @file_get_contents('/var/www/data/cron.txt') ?: "cron has not run\n";
