"""The words of body parts and of views, as rooms write them: PS3.16 annex L and CID 4031, and many languages.

BodyPartExamined and ViewPosition hold defined terms, so anybody may write anything, in any language. A word
that stands in no table says nothing: only what is known as another part is one. Words are compared whole, in
capitals, without accents. In the tables `*` at the beginning or end of a word stands for any letters, `_` for
a blank, and `Ä` is found as A and as AE.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cache

_UNMARKED = str.maketrans({"Ø": "O", "Æ": "AE", "Œ": "OE", "Ł": "L", "Đ": "D", "Ð": "D", "Þ": "TH"})
_TWO_LETTERS = str.maketrans({"Ä": "AE", "Ö": "OE", "Ü": "UE", "Ø": "OE", "Å": "AA"})


def as_words(*lines: str) -> tuple[str, ...]:
    """The words of a table."""
    return tuple(word for line in lines for word in line.split())


CHEST_WORDS = as_words(
    # Annex L, English
    "CHEST* *CHEST CHST CXR *CXR THX THOR THORAX* THORAC* THORAK* HEMITHORA* LUNG LUNGS PULM* PLEURA*",
    "BRONCH*",
    # Romance languages
    "TORAX* TORAC* TORAK* HEMITORA* EMITORA*",
    # German
    "BRUST BRUSTKORB* BRUSTRAUM* BRUSTHÖHLE* LUNGE LUNGEN* HERZLUNGE*",
    # French
    "POUMON POUMONS POITRINE",
    # Spanish
    "PECHO PULMON PULMONES",
    # Portuguese
    "PULMAO PULMOES PEITO",
    # Italian
    "TORACE POLMONE POLMONI POLMONAR* PETTO",
    # Dutch; LONG would be English, BORST a breast
    "BORSTKAS LONGEN LONGFOTO",
    # Swedish, Danish, Norwegian, Icelandic, Finnish
    "BRÖSTKORG* LUNGOR LUNGRÖNTGEN LUNGER BRYSTKASSE* LUNGU* BRJOST* RINTAKEHÄ KEUHKO*",
    # Polish, Czech, Slovak, Slovene, Croatian, Hungarian, Romanian
    "PIERSIOW* PŁUC* KLP HRUDNIK* HRUD PLICE PLICNI PĽUC* PLJUC* GRUDNI* GRUDNA* PRSNI* MELLKAS*",
    "TÜDŐ* PLAMAN*",
    # Turkish, Estonian, Latvian, Lithuanian, Indonesian, Vietnamese
    "GÖĞÜS* AKCIĞER* RINDKERE KOPSU* KRUSKURV* PLAUŠ* KRUTINE* PLAUČ* DADA PARU NGUC PHOI",
    # Russian, Ukrainian, Bulgarian, Greek
    "ГРУДЬ ГРУДН* ГРЪД* ЛЕГКИ* ЛЕГЕН* ОГК ФЛЮОРОГ* ΘΩΡΑ* ΠΝΕΥΜΟΝ*",
    # Japanese, Chinese, Korean, Arabic, Hebrew, Thai
    "*胸部* *胸片* *胸腔* *胸郭* *胸廓* *肺* 胸 *흉부* *가슴* 폐 صدر الصدر חזה *ทรวงอก* *ปอด*",
)
# In the chest, so that a film of it may well be a chest film: neither for nor against. A rib series shows a
# hemithorax from the front, and heart and lungs are one film.
WITHIN_WORDS = as_words(
    # Annex L, English
    "RIB RIBS COSTAL* COSTA COSTAE STERNUM STERNAL HEART CARDIAC CARDIO* MEDIASTIN* DIAPHRAGM* THYMUS",
    "TRUNK TORSO",
    # German, French, Spanish, Portuguese
    "RIPPE RIPPEN* RIPPENTHORAX BRUSTBEIN* HERZ RUMPF COTE COTES COEUR COSTILLA* CORAZON ESTERNON",
    "COSTELA* CORACAO ESTERNO",
    # Italian, Dutch, Scandinavian, Polish, Czech, Turkish
    "COSTE COSTOLA CUORE STERNO HART RIBBEN REVBEN HJÄRTA HJERTE BRÖSTBEN ŻEBRA ŻEBER SERCE MOSTEK",
    "KABURGA KALP",
    # Russian, Japanese, Chinese, Korean
    "РЕБР* РЕБЕР СЕРДЦ* ГРУДИН* *肋骨* *肋* *心臓* *胸骨* *늑골*",
)
# Another part even beside a word of the chest: THORACIC SPINE is a spine, CHESTABDOMEN more than a chest film
RULING_WORDS = as_words(
    # Annex L, English
    "*SPINE *SPINES SPINAL *VERTEBR* BACKBONE *ABDOM* ABD ABDO ABDPEL* ABDTHOR* *CHESTABD* PELV*",
    "*PELVIS INLET OUTLET AORTA* BABYGRAM* BODYGRAM WHOLEBODY WHOLE_BODY ENTIREBODY ENTIRE_BODY",
    "LUMBA* LUMBO* *THORACOLUMB* *DORSOLUMB* SACRAL SACRUM* SACRO* COCCY*",
    # Romance languages
    "LOMBA* LOMBO* *TORACOLOMB* *DORSOLOMB*",
    # German
    "*WIRBEL* HWS BWS LWS HWK BWK LWK LENDEN* BAUCH* BECKEN* *BECKEN STEISSBEIN GANZKÖRPER*",
    "GANZWIRBEL*",
    # French
    "RACHIS RACHIDI* COLONNE BASSIN ASP VENTRE",
    # Spanish, Portuguese
    "COLUMNA RAQUIS VIENTRE COLUNA RAQUE BACIA",
    # Italian
    "COLONNA RACHIDE ADDOM* BACINO",
    # Dutch, Polish, Scandinavian
    "*WERVEL* BUIK* BEKKEN* KREGOSŁUP* BRZUCH* BRZUSZ* MIEDNIC* RYGGRAD* KOTPELARE *RYGG RYGSØJLE*",
    "RYGSÖYLE BUK",
    # Czech, Croatian, Slovene, Hungarian, Turkish, Finnish
    "PATER* KRALJEŠNIC* HRBTENIC* GERINC* OMURGA* BATIN TRBUH* ZDJELIC* SELKÄRANK*",
    # Russian, Greek
    "ПОЗВОН* ЖИВОТ* БРЮШН* ТАЗ ТАЗА ΣΠΟΝΔΥΛ* ΚΟΙΛΙΑ* ΛΕΚΑΝΗ*",
    # Japanese, Chinese, Korean
    "*脊椎* *脊柱* *胸椎* *腰椎* *頸椎* *颈椎* *腹部* *骨盤* *骨盆* *척추* *흉추* *요추* *경추*",
    "*복부* *골반*",
)
# Beside a word of the chest these are no part: THORAX FACE is seen from the front, TORAX DE PIE standing
OTHER_WORDS = as_words(
    # Annex L, English
    "HEAD HEADNECK SKULL* CRANI* BRAIN FACE FACIAL* NOSE NASAL* SINUS SINUSES PNS PARANASAL* ORBIT*",
    "EYE EYES EAR JAW MANDIB* MAXILL* ZYGOM* TMJ TMJS MASTOID* DENTAL* TEETH TOOTH OPG MOUTH NECK*",
    "CERVIX CERVICAL* ADENOID* LARYNX PHARYNX TRACHEA SHOULDER* CLAVIC* CLAVIK* SCAPUL* SKAPUL*",
    "AXILLA ACJ ARM ARMS UPPERARM HUMER* ELBOW* FOREARM* RADIUS ULNA WRIST* HAND HANDS CARPAL* CARPUS",
    "METACARP* FINGER* THUMB* EXTREMIT* LIMB LIMBS UPPERLIMB LOWERLIMB HIP HIPS HIPJOINT FEMUR*",
    "FEMOR* THIGH* KNEE* PATELL* LEG LEGS LOWERLEG TIBI* FIBUL* ANKLE* FOOT* FEET FOREFOOT HINDFOOT",
    "HEEL* CALCAN* TARS* METATARS* TOE TOES HALLUX BACK ILIUM ILIAC SIJ BUTTOCK BREAST* MAMMA MAMMO*",
    "KUB KIDNEY* RENAL URETER* URETHRA BLADDER GALLBLADDER LIVER STOMACH COLON BOWEL ESOPHAG*",
    "OESOPHAG* DUODEN* JEJUNUM ILEUM RECTUM PROSTATE UTERUS OVARY SCROTUM TESTIS PENIS THYROID",
    "PAROTID* SPLEEN PANCREAS SACROILI* CAROTID* CALF JOINT JOINTS ACROMIOCLAV* STERNOCLAV* INTESTIN*",
    "ANUS PANCREATIC BILE BILIARY AUDITORY OPTIC SELLA SUBMANDIB* URINARY SALIVARY FALLOPIAN MUSCLE",
    "BONE FETLOCK STIFLE HOCK PASTERN COFFIN NAVICULAR PHANTOM",
    # German
    "KOPF* SCHÄDEL* GESICHT* NASE NASENBEIN* NNH NASENNEBENHÖHLE* KIEFER* UNTERKIEFER* OBERKIEFER*",
    "ZAHN ZÄHNE ZAHNSTATUS HALS* SCHULTER* SCHLÜSSELBEIN* SCHULTERBLATT* OBERARM* HANDGELENK*",
    "HANDWURZEL* ELLENBOGEN*",
    "UNTERARM* DAUMEN* *GELENK *GELENKE *GELENKS HÜFT* *SCHENKEL* KNIE KNIEGELENK* KNIESCHEIBE* BEIN",
    "BEINE SPRUNGGELENK* OSG FUSS* FÜSSE VORFUSS* MITTELFUSS* RÜCKFUSS* FERSE* ZEH ZEHE ZEHEN* RÜCKEN",
    "MAMMOGR* NIERE* BLASE",
    # French
    "TÊTE CRÂNE VISAGE NEZ MÂCHOIRE DENTS COU ÉPAULE* CLAVICULE* OMOPLATE BRAS COUDE* AVANTBRAS",
    "POIGNET* MAIN MAINS DOIGT* POUCE HANCHE* CUISSE* GENOU* ROTULE JAMBE* CHEVILLE* PIED PIEDS TALON",
    "ORTEIL* SEIN SEINS REIN REINS",
    # Spanish
    "CABEZA CRÁNEO CARA NARIZ SENOS MANDÍBULA DIENTES CUELLO HOMBRO* CLAVÍCULA* ESCÁPULA* BRAZO*",
    "CODO* ANTEBRAZO* MUÑECA* MANO MANOS DEDO DEDOS CADERA* MUSLO* RODILLA* RÓTULA PIERNA* TOBILLO*",
    "PIE PIES TALÓN MAMA MAMAS",
    # Portuguese
    "CABEÇA FACE PESCOÇO OMBRO* BRAÇO* COTOVELO* ANTEBRAÇO* PUNHO* MÃO MÃOS POLEGAR QUADRIL COXA",
    "COXAS FÊMUR JOELHO* PERNA* TORNOZELO* PÉS CALCÂNEO",
    # Italian
    "TESTA CRANIO VISO NASO DENTI COLLO SPALLA SPALLE CLAVICOLA BRACCIO GOMITO AVAMBRACCIO POLSO",
    "POLSI MANI DITO DITA POLLICE ANCA ANCHE FEMORE COSCIA GINOCCHI* GAMBA GAMBE CAVIGLI* PIEDE PIEDI",
    "TALLONE CALCAGNO SENO MAMMELL*",
    # Dutch
    "HOOFD SCHEDEL* GEZICHT NEUS KAAK NEK SCHOUDER* SLEUTELBEEN BOVENARM* ELLEBOOG* ONDERARM* POLS",
    "POLSEN DUIM VINGER* HEUP* BOVENBEEN DIJBEEN KNIEËN ONDERBEEN* ENKEL ENKELS VOET* HIEL TENEN",
    # Swedish, Danish, Norwegian, Finnish
    "HUVUD SKALLE SKULDR* SKULDER* AXEL NYCKELBEN ÖVERARM ARMBÅGE* ALBUE UNDERARM* HANDLED HÅNDLED*",
    "HÅND HENDER TUMME HÖFT* HOFTE* LÅRBEN KNÄ KNÆ KNE UNDERBEN FOTLED FOT FÖTTER FOD FØDDER ANKEL",
    "OLKAPÄÄ KÄSI RANNE POLVI NILKKA JALKA LONKKA",
    # Polish
    "GŁOWA CZASZKA* SZYJA BARK BARKU OBOJCZYK* ŁOPATKA RAMIĘ RAMIENI* ŁOKIEĆ ŁOKCI* PRZEDRAMI*",
    "NADGARST* RĘKA RĘKI DŁOŃ DŁONI PALEC PALCE BIODR* UDO KOLANO KOLANA KOLANOW* PODUDZI* GOLEŃ",
    "SKOKOW* STOPA STOPY PIĘTA",
    # Czech, Slovak, Slovene, Croatian, Hungarian, Romanian
    "HLAVA LEBKA KRK RAMENO LOKET LAKET ZÁPĚSTÍ RUKA PRST KYČEL* STEHNO KOLENO BÉREC KOTNÍK NOHA PATA",
    "PÄTA GLAVA VRAT RAME LAKAT ŠAKA KUK KOLJENO GLEŽANJ STOPALO FEJ KOPONYA NYAK VÁLL KÖNYÖK CSUKLÓ",
    "KÉZ UJJ CSÍPŐ TÉRD BOKA LÁBFEJ UMĂR MÂNĂ ȘOLD GENUNCHI GLEZNĂ PICIOR",
    # Turkish
    "KAFA KAFATASI BOYUN OMUZ DIRSEK ÖNKOL BILEK ELBILEK PARMAK KALÇA UYLUK DIZ BACAK AYAK",
    # Russian, Greek
    "ГОЛОВА ЧЕРЕП* ШЕЯ ПЛЕЧ* КЛЮЧИЦ* ЛОПАТ* ЛОКТ* ПРЕДПЛЕЧ* ЗАПЯСТ* КИСТЬ КИСТИ ПАЛЕЦ БЕДР* КОЛЕН*",
    "ГОЛЕНЬ СТОПА СТОПЫ ΚΕΦΑΛΗ ΚΡΑΝΙΟ ΩΜΟΣ ΑΓΚΩΝΑΣ ΚΑΡΠΟΣ ΧΕΡΙ ΙΣΧΙΟ ΓΟΝΑΤΟ ΠΟΔΙ",
    # Japanese, Chinese, Korean
    "*頭部* *头颅* *頭蓋* *頸部* *肩* *肘* 手 右手 左手 両手 双手 *手部* *手関節* *手指* *腕関節*",
    "*股関節* *髋* *膝* 足 右足 左足 両足 双足 *足部*",
    "*足関節* *足趾* *足指* *踝* *大腿* *下腿* *上腕* *前腕* *머리* *두개* *어깨* *팔꿈치* 손",
    "오른손 왼손 *손목* *무릎* 발 *발목* *고관절*",
)

PA_WORDS = as_words(
    "PA P_A D_V PAERECT PAUPRIGHT POSTEROANTERIOR* POSTERO_ANTERIOR* POSTERIORANTERIOR",
    "POSTERIOR_ANTERIOR POSTERIOR_TO_ANTERIOR DV DORSOVENTRAL* DORSO_VENTRAL* POSTEROANTERIEUR*",
    "TYLNO_PRZEDNI* TYLNOPRZEDNI* ACHTERVOORWAARTS* ZADOPREDNI* ΟΠΙΣΘΙΟΠΡΟΣΘΙ* *後前* *后前*",
)
AP_WORDS = as_words(
    "AP A_P V_D APSUPINE APERECT APUPRIGHT APPORTABLE APPORT APSITTING ANTEROPOSTERIOR*",
    "ANTERO_POSTERIOR* ANTERIORPOSTERIOR ANTERIOR_POSTERIOR ANTERIOR_TO_POSTERIOR VD VENTRODORSAL*",
    "VENTRO_DORSAL* PRZEDNIO_TYLN* PRZEDNIOTYLN* VOORACHTERWAARTS* PREDOZADNI* ΠΡΟΣΘΙΟΠΙΣΘΙ* *前後*",
    "*前后*",
)
FRONTAL_WORDS = as_words(
    "APPA PAAP FRONTAL* FRONT FRONTE FACE FRENTE CORONAL ПРЯМАЯ ПРЯМ ΚΑΤΑ_ΜΕΤΩΠΟ *正面* *正位* *정면*",
)
LATERAL_WORDS = as_words(
    # C.8.1.1, and how it is abbreviated
    "LL RL L_L R_L LAT LATS LATERAL LATERALE LATERALES LATERALIS LATERALEN LATERALT LATERALNA",
    "LATERALNI LATEROLATERAL* LATERO_LATERAL* LLAT RLAT LTLAT RTLAT LEFTLAT RIGHTLAT LATL LATR LATLT",
    "LATRT LATLEFT LATRIGHT LLATERAL RLATERAL LEFTLATERAL RIGHTLATERAL LTLATERAL RTLATERAL LATERALL",
    "LATERALR LATERALLEFT LATERALRIGHT TRANSLATERAL",
    # French, Spanish, Italian, German, Dutch
    "PROFIL PROFILE PROFILS PROFILO PERFIL SEITLICH* SEITENAUFNAHME SEITENBILD SEITL ZIJDELINGS*",
    "ZIJWAARTS DWARS",
    # Scandinavian, Polish, Czech, Hungarian, Turkish, Russian, Greek
    "SIDOBILD SIDEBILLEDE SIDEBILDE SIVUKUVA BOCZN* BOČN* BOKOV* OLDALIRANY* YAN YANDAN БОКОВ* БІЧН*",
    "ΠΛΑΓΙΑ ΠΛΑΓΙΟ",
    # Japanese, Chinese, Korean
    "*側面* *侧面* *侧位* *側位* *측면*",
)
# Neither frontal nor lateral, whatever beam or side stands beside them: AP OBLIQUE, LEFT LATERAL DECUBITUS
NEITHER_WORDS = as_words(
    "RLD LLD RLO LLO RAO LAO RPO LPO OBL OBLIQ* OBLICU* OBLÍQU* SCHRÄG* SKOS SKOŚN* KOSÝ* ŠIKMÁ SKRÅ*",
    "EĞIK AXIAL* ASSIALE LORDOTI* LORDÓTI* DECUB* DÉCUB* CC MLO ML LM XCCL TANGENTIAL* APICAL* КОСАЯ",
    "ΛΟΞΗ *斜位* *斜*",
)
# Lying on back or belly, as Romance languages say it, is how the patient lies and no view
LYING_WORDS = as_words(
    "DECUBITO_SUPINO DECUBITO_DORSAL* DECUBITO_PRONO DECUBITO_VENTRAL* DECUBITUS_DORSAL",
    "DECUBITUS_VENTRAL DECUBITUS_SUPINE DECUBITO_SUPINE",
)


def plain(text: str) -> str:
    """Capitals without accents, in one width: `Tórax` is TORAX, `Łokieć` LOKIEC, `ＰＡ` PA."""
    parts = unicodedata.normalize("NFKD", text.upper().translate(_UNMARKED))
    return unicodedata.normalize("NFC", "".join(c for c in parts if not unicodedata.combining(c)))


def spaced(text: str) -> str:
    """`plain`, letters and digits apart, one blank between words: `t-spine_2v` is T SPINE 2 V."""
    return re.sub(r"[\W_]+|(?<=[^\W\d])(?=\d)|(?<=\d)(?=[^\W\d])", " ", plain(text)).strip()


def spellings(word: str) -> frozenset[str]:
    """How a word may be written: `HÜFTE` is HUFTE or HUEFTE."""
    return frozenset({plain(word), plain(word.upper().translate(_TWO_LETTERS))})


@cache
def pattern(words: tuple[str, ...]) -> re.Pattern[str]:
    """Finds any of these in a `spaced` text."""
    alternatives = {
        ("\\w*" if word.startswith("*") else "")
        + re.escape(spaced(written))
        + ("\\w*" if word.endswith("*") else "")
        for word in words
        for written in spellings(word.strip("*"))
    }
    longest_first = sorted(alternatives, key=lambda one: (-len(one), one))
    return re.compile(rf"(?<!\S)(?:{'|'.join(longest_first)})(?!\S)" if words else r"(?!)")


# Parts


@dataclass(frozen=True, slots=True)
class PartWords:
    """What BodyPartExamined means; `chest` and `other` are words that a site adds, and theirs come first."""

    chest: tuple[str, ...] = ()
    other: tuple[str, ...] = ()

    def part(self, text: str) -> str:
        """ "chest", "other", or "": no word is known that says either, or the site's own disagree."""
        own, found = self._own(text), self._found(text)
        if own == {"chest", "other"}:
            return ""
        if "other" in own or "ruling" in found:
            return "other"
        return "chest" if "chest" in own | found else "other" if "other" in found else ""

    def knows(self, text: str) -> bool:
        """Whether it names any part of a body at all."""
        return bool(self._own(text) or self._found(text))

    def _own(self, text: str) -> set[str]:
        own = (("chest", self.chest), ("other", self.other))
        return {kind for kind, words in own if pattern(words).search(spaced(text))}

    def _found(self, text: str) -> set[str]:
        """What the tables say of all that a site's words leave."""
        left = pattern(self.chest + self.other).sub(" ", spaced(text))
        return {kind for kind, words in _PARTS if pattern(words).search(left)}

    def adding(self, chest: Iterable[str], other: Iterable[str]) -> PartWords:
        """These words and a site's own."""
        return replace(self, chest=(*self.chest, *chest), other=(*self.other, *other))


_PARTS = (
    ("chest", CHEST_WORDS),
    ("within", WITHIN_WORDS),
    ("ruling", RULING_WORDS),
    ("other", OTHER_WORDS),
)
PARTS = PartWords()


# Views

_BEAMS = (("PA", PA_WORDS), ("AP", AP_WORDS))
_VIEWS = (
    ("frontal", (*PA_WORDS, *AP_WORDS, *FRONTAL_WORDS)),
    ("lateral", LATERAL_WORDS),
    ("other", NEITHER_WORDS),
)


def view(text: str) -> str:
    """ "frontal", "lateral", "other", or "" where no word is known, or words of both planes stand there."""
    views = _matching(text, _VIEWS)
    if "other" in views:
        return "other"
    return views.pop() if len(views) == 1 else ""


def beam(text: str) -> str:
    """ "PA" or "AP" where the text says one of them, else ""."""
    beams = _matching(text, _BEAMS)
    return beams.pop() if len(beams) == 1 else ""


def _matching(text: str, tables: tuple[tuple[str, tuple[str, ...]], ...]) -> set[str]:
    left = pattern(LYING_WORDS).sub(" ", spaced(text))
    return {name for name, words in tables if pattern(words).search(left)}
