"""What lets a program run for months unattended: configuration, the service manager's watchdog, reload."""
