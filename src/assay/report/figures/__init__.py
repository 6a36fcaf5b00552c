"""Pictures and plots of reports."""
