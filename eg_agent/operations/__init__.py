"""What keeps an unattended agent in sight: logs, metrics, health, and the doctor."""
