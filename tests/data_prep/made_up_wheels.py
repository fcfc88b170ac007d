"""Tiny wheels with message catalogs: layouts and oddities of the real ones."""

import zipfile
from pathlib import Path

import polib

VERBS = {"Open": "Öffne", "Close": "Schließe", "Delete": "Lösche", "Move": "Verschiebe"}
NOUNS = {"page": "Seite", "list": "Liste", "folder": "Mappe", "file": "Datei", "row": "Zeile"}
COLOURS = {"red": "rote", "green": "grüne", "new": "neue", "old": "alte", "large": "große"}
MADE_UP = [
    (f"{verb} the {colour} {noun}", f"{german_verb} die {german_colour} {german_noun}")
    for verb, german_verb in VERBS.items()
    for colour, german_colour in COLOURS.items()
    for noun, german_noun in NOUNS.items()
]

HEADER = 'msgid ""\nmsgstr ""\n"Content-Type: text/plain; charset=UTF-8\\n"\n\n'

GOOD_AND_BAD_PO = (
    HEADER
    + r"""
msgid "The stock\n   is empty."
msgstr "Das Lager\nist\tleer."

msgid "_Save %(name)s"
msgstr "%(name)s s_peichern"

msgid "%d bird"
msgid_plural "%d birds"
msgstr[0] "%d Vogel"
msgstr[1] "%d Vögel"

msgctxt "season"
msgid "Spring is near"
msgstr "Der Frühling ist nah"

msgctxt "coil"
msgid "Spring is near"
msgstr "Die Feder ist nah"

# A second copy, but for capitals.
msgid "the stock is empty."
msgstr "das Lager ist leer."

#, fuzzy
msgid "Poison fuzzy"
msgstr "Gift unscharf"

msgid "Poison untranslated"
msgstr ""

msgid "<b>Poison</b> markup"
msgstr "<b>Gift</b> Auszeichnung"

msgid "%(poison)s: {poison}"
msgstr "{poison} / %(poison)s"

msgid "Poison copy"
msgstr "Poison copy"

msgid "poison_identifier"
msgstr "Gift ohne Englisch"

msgid "12:30"
msgstr "12.30"

msgid "Poison ratio"
msgstr "Gift, das viel länger ist als alles, was zwei englische Wörter je bedeuten könnten"

#~ msgid "Poison obsolete"
#~ msgstr "Gift veraltet"
"""
)
# The good ones above: stock, save, bird, and spring with its two meanings.
GOOD = 5

PLONE_DE = (
    HEADER
    + r"""
#. a note for translators
#. Default: "Edit the \"front\" "
#. "page now"
#: plone/edit.pt:1
msgid "label_edit_page"
msgstr "Die \"Startseite\" jetzt bearbeiten"

msgid "label_english_elsewhere"
msgstr "Der Text steht im englischen Katalog"

msgid "label_unknown"
msgstr "Gift ohne Englisch"
"""
)
PLONE_FR = (
    HEADER
    + r"""
#. Default: "Edit the \"front\" page now"
msgid "label_edit_page"
msgstr "Modifier la page d'accueil"
"""
)
PLONE_EN = HEADER + 'msgid "label_english_elsewhere"\nmsgstr "The text is in another catalog"\n'
IN_PLONE = 2


def po(pairs: list[tuple[str, str]]) -> str:
    catalog = polib.POFile()
    catalog.metadata = {"Content-Type": "text/plain; charset=UTF-8"}
    catalog.extend(polib.POEntry(msgid=source, msgstr=target) for source, target in pairs)
    return str(catalog)


def mo(text: str) -> bytes:
    return polib.pofile(text).to_binary()


def wheels(folder: Path) -> None:
    """Write three wheels for German-English; one has French too."""
    folder.mkdir(parents=True, exist_ok=True)
    poison = po([("Poison from a .mo beside its .po", "Gift")])
    contents: dict[str, dict[str, str | bytes]] = {
        "shop": {
            "shop/locale/de/LC_MESSAGES/django.po": po(MADE_UP[:60]),
            "shop/locale/de/LC_MESSAGES/django.mo": mo(poison),
            "shop/locale/de_Informal/LC_MESSAGES/django.po": po([("Poison tu", "Gift du")]),
            "shop/admin/locale/de-at/LC_MESSAGES/django.po": GOOD_AND_BAD_PO,
            "shop/admin/locale/broken/de/LC_MESSAGES/django.po": "msgid Poison\n",
        },
        # Only compiled catalogs, as in Gramps, and a repetition of what shop has.
        "tree": {
            "tree-1.data/data/share/locale/de_DE/LC_MESSAGES/tree.mo": mo(po(MADE_UP[50:])),
            "tree-1.data/data/share/locale/de_AT/LC_MESSAGES/tree.mo": mo(poison),
        },
        "plone": {
            "plone/locales/de/LC_MESSAGES/plone.po": PLONE_DE,
            "plone/locales/fr/LC_MESSAGES/plone.po": PLONE_FR,
            "plone/locales/en/LC_MESSAGES/plone.po": PLONE_EN,
        },
    }
    for name, entries in contents.items():
        with zipfile.ZipFile(folder / f"{name}-1-py3-none-any.whl", "w") as wheel:
            for entry, content in entries.items():
                wheel.writestr(entry, content)
