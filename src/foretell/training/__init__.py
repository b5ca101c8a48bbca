"""Networks and their training by mini-batches."""

from foretell.training.loop import train
from foretell.training.loss import spectral_loss
from foretell.training.networks import CNN, MLP, Encoder, Network
from foretell.training.settings import Training
from foretell.training.trained import Trained

__all__ = ["CNN", "MLP", "Encoder", "Network", "Trained", "Training", "spectral_loss", "train"]
