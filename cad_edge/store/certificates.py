"""What a manifest says of how an engine was compared with torch."""

from typing import ClassVar

from pydantic import Field

from cad_edge.schema import Count, Evidence, Name, OmitDefaults


class Quantisation(Evidence):
    """Evidence that an eight-bit engine judges as the float engine does."""

    calibration_images: Count = Field(
        description="good parts that ranges, and how scores shift, were measured on"
    )
    evidence_normal: Count = Field(description="further good parts, for the evidence alone")
    evidence_defective: Count = Field(description="the latter with synthetic defects")
    kept_in_float: list[Name] = Field(
        fail_fast=True,
        description="convolutions or products, as <stage>/<name>, that lost too much in eight bits",
    )
    score_shift: float = Field(description="by how much rounding moves scores of good parts")
    rank_correlation: float = Field(description="Spearman's, of scores over the evidence")
    smallest_rank_correlation: float
    flips_normal: Count = Field(description="good parts whose verdict changes")
    flips_defective: Count = Field(description="synthetic defects whose verdict changes")
    largest_flip_rate: float


class MergedShared(Evidence):
    """What it does to scores that shared experts have lost their router: an approximation.

    Each of the two verdicts on an image is by a threshold of its own, from the same held-out parts.
    Of defects there are only synthetic ones, in the witness, since an artifact keeps no others.
    """

    held_out_images: Count = Field(description="good parts that nothing was learned from")
    witness_images: Count = Field(description="of training, plain and with synthetic defects")
    score_mean: float = Field(description="mean difference of a held-out score, in its own units")
    score_max: float = Field(description="largest one")
    rank_correlation: float | None = Field(
        description="Spearman's, of scores over all images; None where all are equal"
    )
    smallest_rank_correlation: float
    flips_held_out: Count = Field(description="held-out good parts whose verdict changes")
    flips_witness: Count = Field(description="witness images whose verdict changes")
    largest_flip_rate: float


class Certificate(OmitDefaults, Evidence):
    """Proof that an engine answers as torch did; differences are fractions of the score range."""

    RARE: ClassVar[frozenset[str]] = frozenset(
        {"level_maps_max", "levels_max", "same_experts_held_out", "same_experts_witness"}
    )

    reference: Name = Field(description="what the engine was compared with, e.g. torch 2.13.0")
    runtime: Name = Field(description="what ran the engine, e.g. onnxruntime 1.31.1 CPU")
    witness_images: Count
    adversarial_images: Count
    tolerance: float | None = Field(
        description="largest difference allowed; None where `quantisation` decides"
    )
    score_range: float
    score_max: float
    score_mean: float
    map_max: float | None
    map_mean: float | None
    levels_max: float | None = Field(
        default=None,
        description="largest difference of a level, as a fraction of the range of levels; None "
        "where engine or reference tells no levels apart",
    )
    level_maps_max: float | None = Field(
        default=None, description="the same of the levels' maps, each by the range of its level"
    )
    same_experts_held_out: float | None = Field(
        default=None,
        description="share of held-out good parts that choose, each by itself, the experts that "
        "their product chose; None where there are no experts to choose",
    )
    same_experts_witness: float | None = Field(
        default=None, description="the same of witness images, half with synthetic defects"
    )
    flips: Count = Field(description="images whose verdict differs at the calibrated threshold")
    drift: float | None = Field(
        default=None,
        description="largest change of a witness score since the task was learned, in units of the "
        "score; None where later tasks change nothing",
    )
    drift_flips: Count | None = Field(
        default=None,
        description="witness images whose verdict has changed since then, each by the threshold of "
        "its time; None as `drift`",
    )
    quantisation: Quantisation | None = Field(default=None, description="of eight-bit engines only")
    merged_shared: MergedShared | None = Field(
        default=None,
        description="of engines without a router only; the other figures compare with torch "
        "without it",
    )


class WordsCertificate(Evidence):
    """Proof that words are those of torch: greedy answers to the task's question."""

    reference: Name = Field(description="as in a `Certificate`")
    runtime: Name
    witness_images: Count
    tokens_each: Count = Field(description="of every answer; one that ends it is as any other")
    tolerance: float = Field(description="largest difference of a logit allowed")
    logit_range: float
    logit_max: float = Field(description="largest difference, as a fraction of `logit_range`")
    other_tokens: Count = Field(description="tokens that torch would not say; 0 in float32")
