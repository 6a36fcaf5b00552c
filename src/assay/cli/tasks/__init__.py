"""What commands are told: fields that are options of the command line."""
