"""What explaining costs and how true the verdict is, measured."""
