"""What happens before and after training."""
