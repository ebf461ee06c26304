"""Synthetic loan applications: what the default run loads, and what figures are measured on.

A document depends on the seed and on its own number only: not on how many are made, on the hash seed or
on the version of Python.  (``Random.random()`` is the one method whose sequence Python promises to keep,
so nothing else is drawn from.)  Text is put together from templates, because an lxml tree for each
document would cost more than loading it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import date, timedelta
from itertools import islice
from random import Random
from typing import Final, TypeVar

from xml_extractor.contract.plan import Plan
from xml_extractor.contract.types import parse_type
from xml_extractor.engines.base import Engine
from xml_extractor.source.sample_faults import break_application
from xml_extractor.source.sample_words import (
    DISCLOSURES,
    EMAIL_HOSTS,
    EMAIL_NAMES,
    NOTES,
    REASONS,
    REGION_SHARES,
    REGIONS,
    Region,
)
from xml_extractor.source.staging_table import StagingTable

T = TypeVar("T")

BROKEN_SHARE: Final = 0.005
ROOT: Final = "Application"
TRANSACTION_DOCUMENTS: Final = 20_000
"""Documents a transaction when the sample is written: the default sample is there whole or not at all."""

_BATCH_DOCUMENTS: Final = 1000
_SEED_BITS: Final = 64

_DAYS: Final = tuple((date(2021, 1, 1) + timedelta(days)).isoformat() for days in range(4 * 365))
_OLD_DAYS: Final = tuple((date(2000, 1, 1) + timedelta(days)).isoformat() for days in range(20 * 365))
_BIRTHDAYS: Final = tuple(
    (date(1942, 1, 1) + timedelta(days)).strftime("%d.%m.%Y") for days in range(0, 62 * 365, 3)
)

_PURPOSES: Final = ("AUTO", "HOME", "EDUCATION", "MEDICAL", "CONSOLIDATION", "OTHER")
_CHANNELS: Final = ("WEB", "BRANCH", "PHONE", "PARTNER")
_STATUSES: Final = ("NEW", "REVIEW", "APPROVED", "DECLINED", "WITHDRAWN", "FUNDED")
_MARITAL: Final = ("S", "M", "D", "W", "P", "")
_ADDRESS_TYPES: Final = ("PREVIOUS", "MAILING", "PREVIOUS", "VACATION")
_EMPLOYMENT_TYPES: Final = ("FULL", "PART", "SELF", "RETIRED")
_PER: Final = ("Y", "M", "M", "W")
_SALARY_DIVISORS: Final = {"Y": 1, "M": 12, "W": 52}
_ASSETS: Final = (
    ("VEHICLE", "Passenger car, used"),
    ("PROPERTY", "Condominium, 3 rooms"),
    ("SAVINGS", "Savings account"),
    ("SECURITIES", "Shares &amp; bonds"),
    ("OTHER", "Boat «Étoile»"),
)
_LENDERS: Final = ("First National", "Crédit Régional", "Sparkasse Süd", "Caja Española")
_BUREAUS: Final = ("tu", "ex", "eq")
_USERS: Final = ("jdoe", "mlopez", "kweiss", "batch", "agarcia")


def generate_applications(documents: int, seed: int) -> Iterator[tuple[int, str]]:
    """Yield ``documents`` loan applications as (app_id from 1, XML text).

    Sizes are 3 to 15 kB in UTF-8, mostly 4 to 7; about 1 in 200 is broken, in one of the ways of
    :mod:`xml_extractor.source.sample_faults`, and most often smaller or larger than the rest.

    Args:
        seed: any integer; equal seeds give equal documents.
    """
    generator = Random()
    for app_id in range(1, documents + 1):
        generator.seed(((seed & (2**_SEED_BITS - 1)) << _SEED_BITS) | app_id)
        draw = generator.random
        text = _application(app_id, draw)
        yield app_id, break_application(text, draw()) if draw() < BROKEN_SHARE else text


def suits(plan: Plan) -> bool:
    """Whether a contract takes the sample's documents; to any other they would all be strangers."""
    root = ROOT.lower() if plan.ignore_case else ROOT
    return root in plan.roots


def write_sample(
    engine: Engine,
    plan: Plan,
    documents: int,
    seed: int,
    progress: Callable[[int], None] | None = None,
) -> int:
    """Write the sample into the plan's source table, creating it if absent; return how many were added.

    Keys that are there already are left as they are, so that a sample that was cut short is completed
    by writing it again.

    Args:
        progress: called with the number of documents written so far.

    Raises:
        SourceError: the database refuses.
    """
    added = 0
    numbered = generate_applications(documents, seed)
    with StagingTable(engine, plan.source, parse_type("int")) as table:
        done = 0
        if not documents:
            table.begin()
            table.commit()
        while rows := list(islice(numbered, _BATCH_DOCUMENTS)):
            if done % TRANSACTION_DOCUMENTS == 0:
                table.begin()
            added += len(rows) - len(table.insert_new(rows))
            done += len(rows)
            if done % TRANSACTION_DOCUMENTS == 0 or done == documents:
                table.commit()
            if progress is not None:
                progress(done)
    return added


def _pick(draw: Callable[[], float], words: Sequence[T]) -> T:
    return words[int(draw() * len(words))]


def _application(app_id: int, draw: Callable[[], float]) -> str:
    share = draw()
    region = REGIONS[next(i for i, upper in enumerate(REGION_SHARES) if share < upper)]
    received = int(draw() * (len(_DAYS) - 60))
    salary = 18_000 + int(draw() * draw() * 160_000)
    collateral = 5_000 + int(draw() * draw() * 400_000) if draw() < 0.7 else 0
    amount = 1_000 + int(draw() * draw() * 90_000)
    down = f"<DownPayment>{int(amount * draw() * 0.3)}.00</DownPayment>" if draw() < 0.6 else ""
    value = f'<Collateral kind="{_pick(draw, _ASSETS)[0]}">{collateral}.50</Collateral>' if collateral else ""
    other = f' other="{int(draw() * 9000)}.25"' if draw() < 0.4 else ""
    guid = f"{int(draw() * 2**32):08X}-{int(draw() * 65536):04X}-4{int(draw() * 4096):03X}"
    guid += f"-A{int(draw() * 4096):03X}-{int(draw() * 2**48):012X}"
    persons = 1 + (draw() < 0.55) + (draw() < 0.2)
    contacts = "".join(_contact(number, region, salary, draw) for number in range(1, persons + 1))
    assets = "".join(_asset(number, draw) for number in range(1, 1 + int(draw() * 5)))
    decisions = "".join(_decision(number, received, draw) for number in range(1, 2 + (draw() < 0.4)))
    notes = "".join(
        _note(number, received, region, draw) for number in range(1, 3 + int(draw() * draw() * 6))
    )
    if draw() < 0.03:
        # A long story: a few documents are twice as large as the others.
        notes += "".join(_note(number, received, region, draw) for number in range(20, 24 + int(draw() * 12)))
    disclosures = "".join(
        f'<Disclosure code="D{number}" accepted="{"Y" if draw() < 0.9 else "N"}">{_pick(draw, DISCLOSURES)}'
        "</Disclosure>\n"
        for number in range(1, 6)
    )
    scores = "".join(
        f' {bureau}="{300 + int(max(draw(), draw()) * 550)}"' for bureau in _BUREAUS if draw() < 0.85
    )
    return f"""\
<Application id="{app_id}" reference="{guid}" received="{_DAYS[received]}T{_clock(draw)}" \
channel="{_pick(draw, _CHANNELS)}" status="{_pick(draw, _STATUSES)}" version="{1 + int(draw() * 3)}">
<Loan purpose="{_pick(draw, _PURPOSES)}" term="{12 * (1 + int(draw() * 30))}" currency="{region.currency}">
<Amount>{amount}.00</Amount>{down}<Rate>{1 + int(draw() * 120_000) / 10_000:.4f}</Rate>{value}
<FirstPayment>{_DAYS[received + 45]}</FirstPayment><Insured>{"Y" if draw() < 0.3 else "N"}</Insured>\
<Branch>{int(draw() * 2000):05d}</Branch>
</Loan>
<Income salary="{salary}.00"{other} frequency="Y"/>
<Contacts>
{contacts}</Contacts>
<Assets>
{assets}</Assets>
<Bureau{scores}><Inquiries>{int(draw() * 8)}</Inquiries>\
<Delinquencies>{int(draw() * draw() * draw() * 6)}</Delinquencies></Bureau>
<Decisions>
{decisions}</Decisions>
<Notes>
{notes}</Notes>
<Disclosures>
{disclosures}</Disclosures>
</Application>"""


def _clock(draw: Callable[[], float]) -> str:
    second = int(draw() * 86_400)
    return f"{second // 3600:02d}:{second // 60 % 60:02d}:{second % 60:02d}.{int(draw() * 1000):03d}"


def _contact(number: int, region: Region, salary: int, draw: Callable[[], float]) -> str:
    # The second and third person are sometimes given in a role that the contract does not load.
    role = (
        "PRIMARY" if number == 1 else "JOINT" if draw() < 0.7 else "GUARANTOR" if draw() < 0.7 else "WITNESS"
    )
    middle = f"<Middle>{_pick(draw, region.first_names)}</Middle>" if draw() < 0.3 else "<Middle/>"
    digits = int(draw() * 10**9)
    addresses = "".join(_address(n, region, draw) for n in range(1, 2 + (draw() < 0.5)))
    employments = "".join(_employment(n, region, salary, draw) for n in range(1, 2 + (draw() < 0.4)))
    mobile = f'<Phone type="MOBILE">{region.dial} {int(draw() * 10**7):07d}</Phone>' if draw() < 0.8 else ""
    email = f"{_pick(draw, EMAIL_NAMES)}{int(draw() * 1000)}@{_pick(draw, EMAIL_HOSTS)}"
    return f"""\
<Contact id="{number}" role="{role}">
<Name><First>{_pick(draw, region.first_names)}</First>{middle}\
<Last>{_pick(draw, region.last_names)}</Last></Name>
<BirthDate>{_pick(draw, _BIRTHDAYS)}</BirthDate><MaritalStatus>{_pick(draw, _MARITAL)}</MaritalStatus>
<Ssn>{digits // 10**6:03d}-{digits // 10**4 % 100:02d}-{digits % 10**4:04d}</Ssn><Email>{email}</Email>
<Phone type="HOME">{region.dial} {int(draw() * 10**4):04d}-{int(draw() * 10**4):04d}</Phone>{mobile}
<Addresses>
{addresses}</Addresses>
<Employments>
{employments}</Employments>
</Contact>
"""


def _address(number: int, region: Region, draw: Callable[[], float]) -> str:
    kind = "CURRENT" if number == 1 else _pick(draw, _ADDRESS_TYPES)
    city, state, postal_code = _pick(draw, region.cities)
    unit = f"<Unit>{1 + int(draw() * 40)}B</Unit>" if draw() < 0.3 else ""
    rent = f"<Rent>{400 + int(draw() * 2200)}.00</Rent>" if draw() < 0.5 else ""
    # A mailing address may be nothing but a box number, which the contract leaves out.
    street = "" if kind == "MAILING" and draw() < 0.3 else _pick(draw, region.streets)
    return f"""\
<Address type="{kind}" since="{_pick(draw, _OLD_DAYS)}">\
<Street number="{1 + int(draw() * 300)}">{street}</Street>{unit}\
<City>{city}</City><State>{state}</State><PostalCode>{postal_code}</PostalCode>\
<Country>{region.country}</Country>\
<Stay years="{int(draw() * 25)}" months="{int(draw() * 12)}"/>{rent}</Address>
"""


def _employment(number: int, region: Region, salary: int, draw: Callable[[], float]) -> str:
    per = _pick(draw, _PER)
    start = int(draw() * (len(_OLD_DAYS) - 1200))
    end = "" if number == 1 else f"<End>{_OLD_DAYS[start + 30 + int(draw() * 1100)]}</End>"
    return f"""\
<Employment type="{_pick(draw, _EMPLOYMENT_TYPES)}" current="{"Y" if number == 1 else "N"}">\
<Employer>{_pick(draw, region.employers)}</Employer><JobTitle>{_pick(draw, region.job_titles)}</JobTitle>\
<Start>{_OLD_DAYS[start]}</Start>{end}\
<Salary per="{per}">{salary // _SALARY_DIVISORS[per]}.{int(draw() * 100):02d}</Salary>\
<Phone>{region.dial} {int(draw() * 10**6):06d}</Phone></Employment>
"""


def _asset(number: int, draw: Callable[[], float]) -> str:
    kind, description = _pick(draw, _ASSETS)
    worth = int(draw() * draw() * draw() * 300_000) if draw() < 0.95 else 0
    lien = (
        f'<Lien lender="{_pick(draw, _LENDERS)}"><Owed>{int(worth * draw())}.75</Owed></Lien>'
        if draw() < 0.4
        else ""
    )
    return (
        f'<Asset id="{number}" kind="{kind}"><Description>{description}</Description>'
        f'<Value currency="EUR">{worth}.00</Value>{lien}</Asset>\n'
    )


def _decision(number: int, received: int, draw: Callable[[], float]) -> str:
    code = "ADPC"[int(draw() * 4)]
    reasons = "".join(
        f'<Reason code="{reason}">{text}</Reason>'
        for reason, text in REASONS[int(draw() * 4) : int(draw() * 6)]
    )
    day = _DAYS[received + number * 3 + int(draw() * 3)]
    approved = f"<Approved><Rate>{2 + draw() * 9:.3f}</Rate></Approved>" if code == "A" else ""
    return (
        f'<Decision sequence="{number}" code="{code}" at="{day}T{_clock(draw)[:8]}" '
        f'by="{_pick(draw, _USERS)}">{approved}<Reasons>{reasons}</Reasons></Decision>\n'
    )


def _note(number: int, received: int, region: Region, draw: Callable[[], float]) -> str:
    at = f"{_DAYS[received + number]}T{_clock(draw)[:8]}{region.zone}"
    texts = " ".join([_pick(draw, NOTES) for _ in range(1 + int(draw() * 3))])
    internal = ' internal="true"' if draw() < 0.1 else ""
    return f'<Note at="{at}" by="{_pick(draw, _USERS)}"{internal}>{texts}</Note>\n'
