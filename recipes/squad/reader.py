"""A reader of DrQA's kind (Chen et al., *Reading Wikipedia to Answer Open-Domain Questions*, ACL
2017, section 3.2), without its features from a tagger.

Shapes: B questions, T words of a paragraph, Q words of a question; H is 2 * hidden * layers.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

PADDING = 0
LONGEST = 15  # words of an answer, at most


class StackedLSTM(nn.Module):
    """Bidirectional LSTMs, one upon the other; the outputs of all side by side.

    (One `nn.LSTM` of several layers gives the outputs of its last one only.)
    """

    def __init__(self, width: int, hidden: int, layers: int, dropout: float) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        widths = [width, *[2 * hidden] * (layers - 1)]
        self.lstms = nn.ModuleList(nn.LSTM(size, hidden, bidirectional=True) for size in widths)

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:  # shape: (B, T, width) -> (B, T, H)
        packed = pack_padded_sequence(x, lengths.cpu(), batch_first=True, enforce_sorted=False)
        outputs = []
        for lstm in self.lstms:
            packed, _ = lstm(packed._replace(data=self.dropout(packed.data)))
            outputs.append(packed.data)
        packed = packed._replace(data=self.dropout(torch.cat(outputs, dim=-1)))
        return pad_packed_sequence(packed, batch_first=True)[0]


class Reader(nn.Module):
    """Where in a paragraph the answer begins and ends.

    Args:
        types: words of the vocabulary, with the padding token.
        width: of the embeddings, a dense table that `factorize` replaces.
        hidden: units of an LSTM in each direction.
        layers: LSTMs that read the paragraph, and as many that read the question.
        dropout: of the embeddings, and around each LSTM.
    """

    def __init__(self, types: int, width: int, hidden: int, layers: int, dropout: float) -> None:
        super().__init__()
        self.embed = nn.Embedding(types, width, padding_idx=PADDING)
        self.dropout = nn.Dropout(dropout)
        self.align = nn.Linear(width, width)
        self.paragraph = StackedLSTM(2 * width + 2, hidden, layers, dropout)
        self.question = StackedLSTM(width, hidden, layers, dropout)
        both = 2 * hidden * layers
        self.weigh = nn.Linear(both, 1)
        self.start, self.end = nn.Linear(both, both), nn.Linear(both, both)

    def forward(self, paragraph: Tensor, question: Tensor, same: Tensor) -> Tensor:
        """Log-probabilities of each word to be the answer's first, and its last.

        Args:
            paragraph: numbers of words, filled up with `PADDING`.  # shape: (B, T)
            question: the same.  # shape: (B, Q)
            same: 1 where the question has a word of the paragraph, as it is written and in lower
                case, else 0.  # shape: (B, T, 2)

        Returns:
            shape (B, 2, T)
        """
        no_p, no_q = paragraph == PADDING, question == PADDING
        p, q = self.dropout(self.embed(paragraph)), self.dropout(self.embed(question))
        alike = self.align(p).relu() @ self.align(q).relu().mT  # shape: (B, T, Q)
        aligned = alike.masked_fill(no_q[:, None], -torch.inf).softmax(-1) @ q
        p = self.paragraph(torch.cat([p, aligned, same], dim=-1), (~no_p).sum(1))
        q = self.question(q, (~no_q).sum(1))
        weights = self.weigh(q).masked_fill(no_q[..., None], -torch.inf).softmax(1)
        q = (weights * q).sum(1)  # shape: (B, H)
        ends = torch.stack([self.start(q), self.end(q)], dim=1)  # shape: (B, 2, H)
        return (ends @ p.mT).masked_fill(no_p[:, None], -torch.inf).log_softmax(-1)


def best_spans(scores: Tensor) -> Tensor:  # shape: (B, 2, T) -> (B, 2)
    """First and last word of the likeliest answer of at most `LONGEST` words."""
    words = scores.shape[-1]
    allowed = torch.ones(words, words, device=scores.device).triu().tril(LONGEST - 1) > 0
    both = (scores[:, 0, :, None] + scores[:, 1, None]).masked_fill(~allowed, -torch.inf)
    best = both.flatten(1).argmax(1)
    return torch.stack([best // words, best % words], dim=1)
