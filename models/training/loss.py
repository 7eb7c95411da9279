"""The RNN-T loss in plain torch: minus the log of the sum over all alignments.

An alignment walks the lattice of T frames x (U + 1) emitted labels: a blank moves to the next
frame, a label to the next row. The forward variable obeys::

    alpha[t, u] = logaddexp(alpha[t-1, u] + blank[t-1, u],  alpha[t, u-1] + label[t, u-1])

A row u is solved at once. With C[t] = sum of blank[0..t-1, u], the recurrence is
``alpha[t, u] - C[t] = logcumsumexp over t of (alpha[t, u-1] + label[t, u-1] - C[t])``, so only the
short axis u is looped over, and autograd does the rest.

Source: Graves, "Sequence transduction with recurrent neural networks", 2012, section 2.4.
"""

import torch


def rnnt_loss(
    logits: torch.Tensor, targets: torch.Tensor, frames: torch.Tensor, lengths: torch.Tensor, blank: int
) -> torch.Tensor:
    """Negative log-likelihood of each utterance, in nats.

    Parameters
    ----------
    logits : float[B, T, U + 1, V]
        Joint network's output, not normalized.
    targets : int64[B, U]
        Labels, padded with any valid index.
    frames, lengths : int64[B]
        Frames (1..T) and labels (0..U) of each utterance.
    blank : int
        Index of the blank symbol.

    Returns
    -------
    float[B]
    """
    n_batch, _, n_rows, _ = logits.shape
    norm = torch.logsumexp(logits, dim=-1)
    blanks = logits[..., blank] - norm
    index = targets[:, None, :, None].expand(-1, logits.shape[1], -1, 1)
    labels = logits[:, :, :-1].gather(3, index).squeeze(3) - norm[:, :, :-1]
    before = torch.cumsum(blanks, dim=1) - blanks  # log-probability of only blanks up to frame t
    rows = [before[:, :, 0]]
    for u in range(1, n_rows):
        entering = rows[-1] + labels[:, :, u - 1] - before[:, :, u]
        rows.append(torch.logcumsumexp(entering, dim=1) + before[:, :, u])
    alpha = torch.stack(rows, dim=2)
    which = torch.arange(n_batch, device=logits.device)
    last = frames - 1
    return -(alpha[which, last, lengths] + blanks[which, last, lengths])
