"""The words of parts and views: what rooms write, in the languages they write it in."""

from __future__ import annotations

import pytest
from pydicom.sr.codedict import codes

from pipelines.words.vocabulary import (
    CHEST_WORDS,
    OTHER_WORDS,
    PARTS,
    RULING_WORDS,
    WITHIN_WORDS,
    beam,
    spaced,
    view,
)

CHESTS = {
    "annex L and abbreviations": "CHEST|LUNG|Lungs|CHST|THX|CXR|PCXR|PORTCHEST|CHEST2V|"
    "chest_ap|HEMITHORAX|PLEURA",
    "English": "Chest PA and lateral|THORAX|THORACIC CAGE|CHEST & RIBS|HEART AND LUNGS|"
    "NECKCHEST|CHEST ARMS DOWN",
    "German": "BRUST|Brustkorb|Lunge|LUNGEN|Herz/Lunge|THORAX LIEGEND|Brusthöhle|BRUSTHOEHLE",
    "French": "POUMON|Poumons|CAGE THORACIQUE|POITRINE|THORAX DE FACE|RADIO PULMONAIRE",
    "Spanish": "TÓRAX|TORAX|PECHO|PULMÓN|PULMONES|TORAX PA DE PIE|RX TORAX",
    "Portuguese": "PULMÃO|PULMAO|PULMÕES|TÓRAX|PEITO",
    "Italian": "TORACE|Polmoni|TORACE IN PIEDI|RX TORACE|EMITORACE",
    "Dutch": "BORSTKAS|LONGEN|X-THORAX",
    "Polish": "KLATKA PIERSIOWA|Płuca|PLUCA|RTG KLP",
    "Scandinavian": "LUNGOR|BRÖSTKORG|BROESTKORG|RINTAKEHÄ|Lunger|LUNGERÖNTGEN THORAX",
    "Turkish": "AKCİĞER|akciğer|AKCIGER|GÖĞÜS|GOGUS|TORAKS",
    "Czech, Hungarian, Romanian, Croatian": "HRUDNÍK|PLÍCE|MELLKAS|TÜDŐ|PLĂMÂNI|TORACE|GRUDNI KOŠ|PLUĆA",
    "Russian, Ukrainian, Bulgarian": "ГРУДНАЯ КЛЕТКА|Лёгкие|ОГК|ЛЕГЕНІ|ГРЪДЕН КОШ",
    "Greek": "ΘΩΡΑΚΑΣ|Θώραξ|ΠΝΕΥΜΟΝΕΣ",
    "Japanese, Chinese, Korean": "胸部|胸部正面|胸|胸片|肺野|흉부|흉부 X선|폐",
    "Arabic, Hebrew, Thai": "الصدر|חזה|ทรวงอก",
}
OTHERS = {
    "annex L": "HAND|ABDOMEN|PELVIS|SKULL|CSPINE|TSPINE|LSPINE|LSSPINE|EXTREMITY|KNEE|FOOT|"
    "SHOULDER|CLAVICLE|BREAST",
    "spines, not chests": "THORACIC SPINE|THORAX SPINE|T-SPINE|T_SPINE|Th-Spine|THORACOLUMBAR|"
    "DORSAL SPINE|BWS",
    "more than a chest": "CHESTABDOMEN|CHEST ABDOMEN|CHESTABDPELVIS|NECKCHESTABDOMEN|BABYGRAM|"
    "WHOLEBODY|WHOLE BODY",
    "beside the chest": "THORACIC OUTLET|THORACIC INLET|THORACIC AORTA",
    "English": "Left hand|HANDS|HIP JOINT|RIGHT ANKLE|LEG LENGTH|TOES|SINUSES|KUB",
    "German": "Hüfte|HUEFTE|Becken|BECKENÜBERSICHT|Brustwirbelsäule|BRUSTWIRBELSAEULE|HWS|"
    "Kniegelenk|Füße|SCHÄDEL",
    "French": "MAIN|GENOU|Épaule|RACHIS DORSAL|HANCHE|CHEVILLE|ABDOMEN SANS PREPARATION|BASSIN",
    "Spanish": "MANO|RODILLA|COLUMNA DORSAL|COLUMNA TORÁCICA|CADERA|Muñeca|CRÁNEO|TOBILLO",
    "Portuguese": "MÃO|JOELHO|COLUNA TORÁCICA|QUADRIL|PUNHO|BACIA",
    "Italian": "GINOCCHIO|SPALLA|COLONNA DORSALE|RACHIDE TORACO-LOMBARE|BACINO|POLSO|CAVIGLIA",
    "Dutch": "ENKEL|HEUP|Wervelkolom|THORACALE WERVELKOLOM|SCHOUDER|VOET|BUIK",
    "Polish": "KOLANO|Kręgosłup piersiowy|KREGOSLUP|DŁOŃ|BIODRO|JAMA BRZUSZNA|STAW SKOKOWY",
    "Scandinavian": "KNÄ|Höft|HÅND|SKULDER|BRÖSTRYGG|FOT|POLVI",
    "Turkish": "DİZ|El bilek|OMUZ|KALÇA|TORAKAL OMURGA|BATIN",
    "Russian": "КИСТЬ|ГРУДНОЙ ОТДЕЛ ПОЗВОНОЧНИКА|КОЛЕННЫЙ СУСТАВ|ТАЗ|ЧЕРЕП",
    "Japanese, Chinese, Korean": "右手|胸椎|腹部|膝関節|骨盆|무릎|흉추",
}
SILENT = {
    "in the chest": "RIBS|RIB|STERNUM|HEART|MEDIASTINUM|Rippen|BRUSTBEIN|CÔTES|COSTILLAS|ŻEBRA|TRUNK|РЁБРА",
    "of nothing": "UNKNOWN|NONE|ANY|OTHER|-|0|WIDGET|XR ROUTINE|DEFAULT|ROOM 2",
    "hold a word and are none": "AUFSTELLUNG|EINSTELLUNG|HANDHELD|MANCHESTER|ORCHESTRA|LUNGO|LONG|手術|지정",
}


def table(words: dict[str, str]) -> list[str]:
    return [word for listed in words.values() for word in listed.split("|")]


@pytest.mark.parametrize("text", table(CHESTS))
def test_a_chest_is_known(text: str) -> None:
    assert (PARTS.part(text), PARTS.knows(text)) == ("chest", True)


@pytest.mark.parametrize("text", table(OTHERS))
def test_another_part_is_known(text: str) -> None:
    assert (PARTS.part(text), PARTS.knows(text)) == ("other", True)


@pytest.mark.parametrize("text", table(SILENT))
def test_what_is_in_the_chest_or_unknown_says_neither(text: str) -> None:
    assert PARTS.part(text) == ""


def test_what_lies_in_the_chest_is_a_part_and_what_is_unknown_is_none() -> None:
    """A rib is no hip; a word that nobody knows may be one."""
    assert [PARTS.knows(text) for text in ("RIBS", "STERNUM", "WIDGET", "UNKNOWN", "")] == [True] * 2 + [
        False
    ] * 3


def test_a_word_of_the_chest_in_the_middle_of_a_hand_makes_no_chest() -> None:
    assert PARTS.part("HAND EINSTELLUNG") == "other"


def test_no_word_stands_in_two_tables() -> None:
    """It would be decided by the order in which they are asked."""
    tables = [
        {spaced(word) for word in words} for words in (CHEST_WORDS, WITHIN_WORDS, RULING_WORDS, OTHER_WORDS)
    ]
    twice = [a & b for n, a in enumerate(tables) for b in tables[n + 1 :]]
    assert not any(twice), twice


def test_the_standards_own_regions_are_known() -> None:
    """PS3.16 CID 4031, Common Anatomic Regions, by meaning: what is a chest, in it, or another part."""
    said = {c.meaning: PARTS.part(c.meaning) for c in codes.cid4031.concepts.values()}
    chests = {meaning for meaning, part in said.items() if part == "chest"}
    neither = {meaning for meaning, part in said.items() if part == ""}
    assert chests == {"Chest", "Apex of Lung", "Bronchus", "Neck and Chest"}
    assert neither == {"Heart", "Mediastinum", "Rib", "Sternum"}


VIEWS = {
    "frontal": "PA|AP|A.P.|p.a.|AP SUPINE|PA ERECT|APPA|FRONTAL|DE FACE|FRENTE|"
    "Postero-anterior|ANTEROPOSTERIOR|"
    "PORTABLE AP|AP DECUBITO SUPINO|BILATERAL PA|正面|d.-v.",
    "lateral": "LL|RL|LAT|LATERAL|LEFT LAT|L LATERAL|LAT L|R-LAT|LLAT|LEFTLATERAL|"
    "LARGE LATERAL|PROFIL|DE PROFIL|PERFIL|"
    "PERFIL IZQ|PROFILO|SEITLICH|Thorax seitlich|LATERO-LATERALE|BOCZNE|YAN|DWARS|БОКОВАЯ|"
    "側面|측면|ERECT LATERAL",
    "other": "RLD|LLD|RAO|LAO|LPO|OBL|OBLIQUE|AP OBLIQUE|LAT OBLIQUE|LEFT LATERAL DECUBITUS|"
    "AP LORDOTIC|AXIAL|MLO|"
    "Schräg|OBLICUA|OBLIQUA|DÉCUBITUS LATÉRAL",
    "": "WIDGET|TOWNE|SUPINE|PA LAT|PA/LATERAL|STANDING|PATELLA|APEX|BILATERAL|PLATE|UNKNOWN|"
    "DECUBITO DORSAL|-",
}


@pytest.mark.parametrize(
    ("text", "plane"), [(text, plane) for plane, listed in VIEWS.items() for text in listed.split("|")]
)
def test_the_view_is_known_by_a_word_in_the_phrase(text: str, plane: str) -> None:
    assert view(text) == plane


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("PA", "PA"),
        ("THORAX P.A.", "PA"),
        ("AP SUPINE", "AP"),
        ("Antero-Posterior", "AP"),
        ("AP\\PA", ""),
        ("APPA", ""),
        ("LL", ""),
        ("APICAL", ""),
        ("", ""),
    ],
)
def test_the_beam_is_named_or_not(text: str, expected: str) -> None:
    assert beam(text) == expected
