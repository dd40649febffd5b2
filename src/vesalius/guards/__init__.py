"""What keeps patients out of what leaves the house: de-identification, and the scan that proves it."""
