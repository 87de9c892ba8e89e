"""A pretrained model made ready for one fold: device, precision, attention, adapters, loading."""
