"""What is said of samples without answer, and which constraints conflict."""
