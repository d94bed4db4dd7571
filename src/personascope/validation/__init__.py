"""What the organisms' planted truth says of the instruments: reading, steering, what stays after it, decision points."""
