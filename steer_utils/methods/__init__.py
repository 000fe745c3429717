"""Ways to locate a sound: their settings, one file a way, the table of all, and `locate`."""
