"""The one place where anything is judged significant: intervals, tests, corrections, sizes of effect, trends; numpy and scipy alone."""
