#!/usr/bin/env python3
"""Writes the sample documents beside this file (see README.md)."""

import datetime
from pathlib import Path

import docx
import openpyxl
import pikepdf
from docx.shared import Pt
from ebooklib import epub
from odf import style, table, text
from odf.opendocument import OpenDocumentText
from pptx import Presentation
from pptx.util import Inches
from reportlab.lib import colors
from reportlab.lib.pagesizes import A4
from reportlab.lib.styles import getSampleStyleSheet
from reportlab.platypus import (ListFlowable, ListItem, PageBreak, Paragraph, Preformatted, SimpleDocTemplate, Spacer,
                                Table, TableStyle)

HERE = Path(__file__).parent
TITLE = "Pump P-40 maintenance"
PARTS = [["Part", "Order number", "Interval"], ["Seal | shaft", "S-117", "6 months"], ["Bearing R&D", "B-22", "2 years"]]
STEPS = ["Close the inlet valve", "Drain the housing", "Replace the seal"]


def write_docx():
    document = docx.Document()
    document.core_properties.title = TITLE
    document.sections[0].header.paragraphs[0].text = "Running header"
    document.add_heading(TITLE, 1)
    document.add_paragraph("The pump moves 40 litres per minute at 3 bar. Service it twice a year.")
    document.add_heading("Parts", 2)
    grid = document.add_table(len(PARTS), 3, style="Table Grid")
    for row, cells in enumerate(PARTS):
        for column, cell in enumerate(cells):
            grid.cell(row, column).text = cell
    document.add_heading("Replacing the seal", 2)
    for step in STEPS:
        document.add_paragraph(step, style="List Number")
    document.add_paragraph("Tools", style="List Bullet")
    document.add_paragraph("Hook spanner", style="List Bullet 2")
    document.add_paragraph("Torque wrench <20 Nm", style="List Bullet 2")
    document.add_paragraph("Grease", style="List Bullet")
    document.add_heading("Firmware", 3)
    code = document.add_paragraph().add_run("pump_ctl --reset --unit 40")
    code.font.name, code.font.size = "Courier New", Pt(9)
    document.save(HERE / "manual.docx")


def write_pptx():
    deck = Presentation()
    slide = deck.slides.add_slide(deck.slide_layouts[0])
    slide.shapes.title.text, slide.placeholders[1].text = TITLE, "Training for operators"
    slide = deck.slides.add_slide(deck.slide_layouts[1])
    slide.shapes.title.text = "Before you start"
    frame = slide.placeholders[1].text_frame
    frame.text = STEPS[0]
    for words, level in [("Lock it", 1), (STEPS[1], 0)]:
        paragraph = frame.add_paragraph()
        paragraph.text, paragraph.level = words, level
    slide.notes_slide.notes_text_frame.text = "Say that the valve is on the left."
    slide = deck.slides.add_slide(deck.slide_layouts[5])
    slide.shapes.title.text = "Parts"
    grid = slide.shapes.add_table(len(PARTS), 3, Inches(1), Inches(2), Inches(8), Inches(2)).table
    for row, cells in enumerate(PARTS):
        for column, cell in enumerate(cells):
            grid.cell(row, column).text = cell
    deck.core_properties.title = TITLE
    deck.save(HERE / "training.pptx")


def write_xlsx():
    book = openpyxl.Workbook()
    sheet = book.active
    sheet.title = "Stock"
    for row in [["Part", "Count", "Price", "Counted on"],
                ["Seal", 12, 4.5, datetime.date(2026, 3, 1)],
                ["Bearing", 3, 19.95, datetime.date(2026, 3, 2)]]:
        sheet.append(row)
    sheet = book.create_sheet("Suppliers")
    for row in [["Name", "City"], ["Dichtung & Co", "Köln"], ["Lager AG", "Zürich"]]:
        sheet.append(row)
    book.create_sheet("Empty")
    book.properties.title = "Spare parts"
    book.save(HERE / "stock.xlsx")


def write_odt():
    document = OpenDocumentText()
    levels = {level: style.Style(name=f"Heading {level}", family="paragraph") for level in (1, 2)}
    for each in levels.values():
        document.styles.addElement(each)
    document.text.addElement(text.H(outlinelevel=1, stylename=levels[1], text=TITLE))
    document.text.addElement(text.P(text="The pump moves 40 litres per minute."))
    document.text.addElement(text.H(outlinelevel=2, stylename=levels[2], text="Parts"))
    grid = table.Table(name="Parts")
    for cells in PARTS:
        row = table.TableRow()
        for cell in cells:
            holder = table.TableCell()
            holder.addElement(text.P(text=cell))
            row.addElement(holder)
        grid.addElement(row)
    document.text.addElement(grid)
    outer = text.List()
    for step in STEPS:
        item = text.ListItem()
        item.addElement(text.P(text=step))
        outer.addElement(item)
    inner, item = text.List(), text.ListItem()
    item.addElement(text.P(text="Hook spanner"))
    inner.addElement(item)
    outer.lastChild.addElement(inner)
    document.text.addElement(outer)
    document.save(HERE / "manual.odt")


def write_epub():
    book = epub.EpubBook()
    book.set_identifier("pump-p40")
    book.set_title(TITLE)
    book.set_language("en")
    bodies = [("Introduction", "<h1>Introduction</h1><p>The pump moves 40 litres per minute.</p>"),
              ("Parts", "<h1>Parts</h1><h2>Table of parts</h2><table><tr>" + "".join(f"<th>{c}</th>" for c in PARTS[0])
               + "</tr>" + "".join("<tr>" + "".join(f"<td>{c.replace('&', '&amp;')}</td>" for c in r) + "</tr>" for r in PARTS[1:])
               + "</table><pre><code class='language-sh'>pump_ctl --reset\n  --unit 40</code></pre>"
               "<ul><li>Tools<ul><li>Hook spanner</li></ul></li><li>Grease</li></ul>")]
    chapters = []
    for number, (heading, body) in enumerate(bodies, 1):
        chapter = epub.EpubHtml(title=heading, file_name=f"chapter{number}.xhtml", lang="en")
        chapter.content = body
        book.add_item(chapter)
        chapters.append(chapter)
    book.toc, book.spine = chapters, ["nav", *chapters]
    book.add_item(epub.EpubNcx())
    book.add_item(epub.EpubNav())
    epub.write_epub(HERE / "manual.epub", book)


def write_pdf():
    styles = getSampleStyleSheet()

    def number_pages(canvas, document):
        canvas.setFont("Helvetica", 8)
        canvas.drawCentredString(A4[0] / 2, 30, f"P-40 manual - page {document.page} of 3")

    grid = Table(PARTS, hAlign="LEFT", style=TableStyle([("GRID", (0, 0), (-1, -1), 0.5, colors.black)]))
    body = styles["BodyText"]
    story = [
        Paragraph(TITLE, styles["Heading1"]),
        Paragraph("The pump moves 40 litres per minute at 3 bar. Service it twice a year, and after every winter. " * 6, body),
        PageBreak(),
        Paragraph("Parts", styles["Heading2"]), grid, Spacer(1, 12),
        Paragraph("Order parts with the number in the second column. " * 5, body),
        PageBreak(),
        Paragraph("Replacing the seal", styles["Heading2"]),
        ListFlowable([ListItem(Paragraph(step, body)) for step in STEPS], bulletType="1"),
        Paragraph("Then reset the controller:", body),
        Preformatted("pump_ctl --reset --unit 40\npump_ctl --status", styles["Code"]),
    ]
    SimpleDocTemplate(str(HERE / "manual.pdf"), pagesize=A4, title=TITLE, author="DocBrain").build(
        story, onFirstPage=number_pages, onLaterPages=number_pages)
    with pikepdf.open(HERE / "manual.pdf") as pdf:
        pdf.save(HERE / "locked.pdf", encryption=pikepdf.Encryption(user="secret", owner="secret", R=6))
        # Opens without a password but forbids printing: readable, and must be read.
        pdf.save(HERE / "unprintable.pdf", encryption=pikepdf.Encryption(user="", owner="secret", R=4))
    with pikepdf.new() as pdf:
        pdf.add_blank_page()
        page = pdf.pages[0]
        image = pdf.make_stream(bytes(8), Type=pikepdf.Name.XObject, Subtype=pikepdf.Name.Image, Width=8, Height=8,
                                ColorSpace=pikepdf.Name.DeviceGray, BitsPerComponent=1)
        page.Resources = pikepdf.Dictionary(XObject=pikepdf.Dictionary(Scan=image))
        page.Contents = pdf.make_stream(b"q 600 0 0 780 0 0 cm /Scan Do Q")
        pdf.save(HERE / "scanned.pdf")


if __name__ == "__main__":
    for write in (write_docx, write_pptx, write_xlsx, write_odt, write_epub, write_pdf):
        write()
