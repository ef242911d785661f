"""The names of files in the router's folder by which processes coordinate."""

LOCK = "lock"  # whoever changes the router or its files holds it, and a start and a reload do, too
RELOAD_WANTED = "reload-wanted"  # exists while the configuration lacks what apps' settings say
