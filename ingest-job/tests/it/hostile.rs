//! Files made to break a parser: each fails clearly or is read, and the next document is read all the same.

use std::fmt::Write as _;
use std::io::{Cursor, Write as _};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use docbrain_ingest::parse::{Format, MAX_MARKDOWN_BYTES, ParseError, ParsedDocument};
use docbrain_ingest::sandbox::{Clock, Limits, ParseFailure, Sandbox, WorkerLimits};
use zip::write::SimpleFileOptions;
use zip::{ZipArchive, ZipWriter};

use super::{install, install_script, sandbox};

const DOCX: &[u8] = include_bytes!("../../testdata/manual.docx");
const XLSX: &[u8] = include_bytes!("../../testdata/stock.xlsx");
const PDF: &[u8] = include_bytes!("../../testdata/manual.pdf");

/// Parses the file, then proves that the sandbox still works.
async fn survive(sandbox: &mut Sandbox, name: &str, bytes: &[u8]) -> Result<ParsedDocument, ParseFailure> {
    let begun = Instant::now();
    let outcome = sandbox.parse(name, bytes).await;
    let words = outcome.as_ref().map_or_else(
        |failure| format!("{}: {failure}", failure.code()),
        |read| format!("{} bytes", read.markdown.len()),
    );
    println!("{name} ({} bytes) in {:?}: {words}", bytes.len(), begun.elapsed());
    assert!(begun.elapsed() < Duration::from_secs(200), "beyond every limit");
    let next = sandbox.parse("next.md", b"# Next\n\ntext").await.unwrap();
    assert_eq!(next.title.as_deref(), Some("Next"));
    outcome
}

/// The failure a tenant sees when the document itself is at fault.
async fn refused(name: &str, bytes: &[u8]) -> ParseError {
    match survive(&mut sandbox(Limits::default()), name, bytes).await {
        Err(ParseFailure::Document(error)) => error,
        other => panic!("{name}: {other:?}"),
    }
}

#[tokio::test]
async fn broken_and_mislabelled_files_are_refused() {
    assert_eq!(refused("empty.pdf", b"").await, ParseError::Empty);
    let plain_zip = zip(&[("notes.txt", b"words")]);
    assert_eq!(refused("renamed.pdf", &plain_zip).await.code(), "mismatch");
    assert_eq!(refused("renamed.docx", &plain_zip).await.code(), "mismatch");
    assert_eq!(refused("archive", &plain_zip).await.code(), "unsupported");
    assert_eq!(refused("sheet.docx", XLSX).await.code(), "mismatch");
    assert_eq!(refused("truncated.docx", &DOCX[..DOCX.len() / 2]).await.code(), "damaged");
    let locked = include_bytes!("../../testdata/locked.pdf");
    assert_eq!(refused("locked.pdf", locked).await, ParseError::PasswordProtected);
    let mut office = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1".to_vec();
    office.extend("EncryptedPackage".encode_utf16().flat_map(u16::to_le_bytes));
    assert_eq!(refused("locked.docx", &office).await, ParseError::PasswordProtected);
}

#[tokio::test]
async fn a_document_that_is_only_a_header_is_damaged() {
    for cut in [9, 100, PDF.len() / 2] {
        assert_eq!(refused("cut.pdf", &PDF[..cut]).await.code(), "damaged", "{cut}");
    }
}

#[tokio::test]
async fn invalid_utf8_is_read() {
    let mut sandbox = sandbox(Limits::default());
    let text = survive(&mut sandbox, "latin.md", b"# Stra\xdfe\n\nDie Stra\xdfe f\xfchrt nach K\xf6ln.").await.unwrap();
    assert_eq!(text.title.as_deref(), Some("Straße"));
    let noise: Vec<u8> = (0..100_000_u32).map(|n| n.wrapping_mul(2_654_435_761).to_be_bytes()[0].max(1)).collect();
    survive(&mut sandbox, "noise.txt", &noise).await.unwrap();
}

#[tokio::test]
async fn a_text_of_200_megabytes_is_too_large() {
    let text = "All work and no play makes Jack a dull boy.\n".repeat(200 * 1024 * 1024 / 44);
    let error = refused("novel.txt", text.as_bytes()).await;
    assert!(error.to_string().contains("at most 32 MB"), "{error}");
    let small = Limits { file_bytes: 1 << 20, ..Limits::default() };
    let failure = survive(&mut sandbox(small), "novel.txt", text.as_bytes()).await.unwrap_err();
    assert_eq!(failure.code(), "file_too_large");
}

#[tokio::test]
async fn html_nested_100_000_deep_is_refused_or_read() {
    let html = format!("{}the end{}", "<div>".repeat(100_000), "</div>".repeat(100_000));
    assert_eq!(refused("deep.html", html.as_bytes()).await, ParseError::TooComplex { format: Format::Html });
    let flat = format!("<html><body>{}</body></html>", "<p>One of very many paragraphs.</p>".repeat(20_000));
    let read = survive(&mut sandbox(Limits::default()), "flat.html", flat.as_bytes()).await.unwrap();
    assert_eq!(read.markdown.matches("One of").count(), 20_000);
}

#[tokio::test]
async fn a_table_of_a_million_cells_is_read() {
    let mut csv = String::new();
    let mut html = String::from("<html><body><table>");
    for row in 0..10_000 {
        html.push_str("<tr>");
        for column in 0..100 {
            write!(csv, "{}{row}x{column}", if column == 0 { "" } else { "," }).unwrap();
            // Unoptimised, the HTML engine needs most of a minute for a million cells.
            if row < 2_000 {
                write!(html, "<td>{row}x{column}</td>").unwrap();
            }
        }
        csv.push('\n');
        html.push_str("</tr>");
    }
    html.push_str("</table></body></html>");
    let mut sandbox = sandbox(Limits::default());
    let read = survive(&mut sandbox, "million.csv", csv.as_bytes()).await.unwrap();
    assert!(read.markdown.contains("| 9999x98 | 9999x99 |"));
    let read = survive(&mut sandbox, "large.html", html.as_bytes()).await.unwrap();
    assert!(read.markdown.contains("1999x99"));
    let sheet = csv.lines().take(1_000).enumerate().fold(String::new(), |mut sheet, (row, line)| {
        write!(sheet, "<row r=\"{}\">", row + 1).unwrap();
        for cell in line.split(',') {
            write!(sheet, "<c t=\"inlineStr\"><is><t>{cell}</t></is></c>").unwrap();
        }
        sheet + "</row>"
    });
    let sheet = format!(
        "<worksheet xmlns=\"http://schemas.openxmlformats.org/spreadsheetml/2006/main\"><sheetData>{sheet}</sheetData></worksheet>"
    );
    let workbook = replace(XLSX, "xl/worksheets/sheet1.xml", sheet.as_bytes());
    let read = survive(&mut sandbox, "large.xlsx", &workbook).await.unwrap();
    assert!(read.markdown.contains("999x99"));
}

/// The engine skips what is too large for it without a word; that must not pass for the whole workbook.
#[tokio::test]
async fn a_sheet_that_cannot_be_read_is_not_left_out_silently() {
    let cells: String = (1..=30).fold(String::new(), |mut rows, row| {
        write!(rows, "<row r=\"{row}\"><c r=\"A{row}\"><v>{row}</v></c></row>").unwrap();
        rows
    });
    let far = "<row r=\"1048576\"><c r=\"XFD1048576\"><v>1</v></c></row>";
    let sheet = format!(
        "<worksheet xmlns=\"http://schemas.openxmlformats.org/spreadsheetml/2006/main\"><sheetData>{cells}{far}</sheetData></worksheet>"
    );
    let workbook = replace(XLSX, "xl/worksheets/sheet1.xml", sheet.as_bytes());
    assert_eq!(refused("far.xlsx", &workbook).await, ParseError::TooComplex { format: Format::Xlsx });
}

#[tokio::test]
async fn decompression_bombs_do_not_go_off() {
    let mut words = b"<w:p><w:r><w:t>".to_vec();
    words.resize(1 << 30, b'A');
    assert_eq!(refused("bomb.docx", &replace(DOCX, "word/document.xml", &words)).await.code(), "too_large");
    // A PDF whose one page is a gigabyte of drawing, in a megabyte.
    let mut page = b"BT /F1 12 Tf 50 50 Td (before) Tj ".to_vec();
    page.resize(1 << 30, b' ');
    let bomb = pdf_with_page(&deflate(&page));
    let outcome = survive(&mut sandbox(Limits::default()), "bomb.pdf", &bomb).await;
    if let Err(failure) = outcome {
        assert!(matches!(failure.code(), "out_of_memory" | "timed_out" | "damaged" | "no_text"), "{failure:?}");
    }
}

#[tokio::test]
async fn the_limits_of_memory_and_time_end_a_document_and_say_so() {
    let mut page = b"BT /F1 12 Tf ".to_vec();
    page.extend(b"1 0 0 1 50 50 Tm (word) Tj ".repeat(400_000));
    let heavy = pdf_with_page(&deflate(&page));
    let worker = WorkerLimits { cpu_seconds: 1, ..WorkerLimits::default() };
    let failure = survive(&mut sandbox(Limits { worker, ..Limits::default() }), "slow.pdf", &heavy).await.unwrap_err();
    assert_eq!(failure, ParseFailure::TimedOut { seconds: 1, clock: Clock::Cpu });
    let wall = Limits { wall: Duration::from_secs(1), ..Limits::default() };
    let failure = survive(&mut sandbox(wall), "slow.pdf", &heavy).await.unwrap_err();
    assert_eq!(failure, ParseFailure::TimedOut { seconds: 1, clock: Clock::Wall });
    let worker = WorkerLimits { memory_bytes: 640 << 20, ..WorkerLimits::default() };
    let failure = survive(&mut sandbox(Limits { worker, ..Limits::default() }), "big.pdf", &heavy).await.unwrap_err();
    assert_eq!(failure, ParseFailure::OutOfMemory { limit_bytes: 640 << 20 });
    assert!(failure.to_string().contains("0.6 GB"), "{failure}");
}

#[tokio::test]
async fn one_worker_serves_many_documents() {
    let text = format!("# Heading\n\n{}", "Some words of a page. ".repeat(270));
    let mut sandbox = sandbox(Limits { documents_per_worker: 150, ..Limits::default() });
    let begun = Instant::now();
    for index in 0..400 {
        let document = sandbox.parse(&format!("{index}.md"), text.as_bytes()).await.unwrap();
        assert_eq!(document.markdown, text);
    }
    println!("{:.0} documents of 6 KB a second", 400.0 / begun.elapsed().as_secs_f64());
}

#[tokio::test]
async fn a_missing_program_is_not_the_document_s_fault() {
    let mut sandbox = Sandbox::new("/nowhere/docbrain-ingest".into(), Limits::default());
    let failure = sandbox.parse("a.md", b"text").await.unwrap_err();
    assert_eq!(failure.code(), "not_started");
}

/// A program that stands in for a worker: a shell script and a file with what it answers.
fn impostor(folder: &tempfile::TempDir, script: &str, answer: &[u8]) -> Sandbox {
    let program = folder.path().join("worker");
    std::fs::write(folder.path().join("answer"), answer).unwrap();
    install_script(&format!("answer={}/answer\n{script}", folder.path().display()), &program);
    Sandbox::new(program, Limits { wall: Duration::from_secs(10), ..Limits::default() })
}

#[tokio::test]
async fn a_pdf_that_kills_the_first_engine_goes_to_the_second() {
    let folder = tempfile::tempdir().unwrap();
    let header = br#"{"outcome":{"Ok":{"title":"Saved","page_starts":[0]}},"retire":false}"#;
    let answer = [frame_lengths(header.len(), 4).as_slice(), header.as_slice(), b"text"].concat();
    let script = "/usr/bin/head -c 60 | /bin/grep -q accurate && kill -SEGV $$\n/bin/cat $answer; /bin/cat >/dev/null";
    let read = impostor(&folder, script, &answer).parse("a.pdf", PDF).await.unwrap();
    assert_eq!((read.title.as_deref(), read.markdown.as_str()), (Some("Saved"), "text"));
    let failure = impostor(&folder, script, &answer).parse("a.docx", DOCX).await.unwrap_err();
    assert_eq!(failure.code(), "crashed", "other formats have one engine");
}

#[tokio::test]
async fn a_worker_that_was_taken_over_reaches_no_further_than_its_document() {
    let folder = tempfile::tempdir().unwrap();
    let header = br#"{"outcome":{"Ok":{"title":null,"page_starts":[9]}},"retire":false}"#;
    let outside = [frame_lengths(header.len(), 4).as_slice(), header.as_slice(), b"text"].concat();
    let endless = [0xff; 4096];
    for answer in [outside.as_slice(), &endless, b"{}"] {
        let mut sandbox = impostor(&folder, "/bin/cat $answer; exec /bin/cat >/dev/null 2>&1", answer);
        let failure = sandbox.parse("a.docx", DOCX).await.unwrap_err();
        assert!(matches!(failure.code(), "crashed" | "timed_out"), "{failure:?}");
    }
}

#[tokio::test]
async fn a_dropped_exchange_leaves_the_sandbox_usable() {
    let mut sandbox = sandbox(Limits::default());
    let text = "word ".repeat(4 << 20);
    let cut = tokio::time::timeout(Duration::from_millis(5), sandbox.parse("long.txt", text.as_bytes())).await;
    assert!(cut.is_err(), "too fast to be cut");
    survive(&mut sandbox, "short.md", b"words").await.unwrap();
    assert!(MAX_MARKDOWN_BYTES > text.len());
}

#[test]
fn a_worker_confines_itself_before_it_reads() {
    let mut worker = Command::new(env!("CARGO_BIN_EXE_docbrain-ingest"))
        .arg("parse-worker")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let read = |file: &str| std::fs::read_to_string(format!("/proc/{}/{file}", worker.id())).unwrap_or_default();
    let begun = Instant::now();
    while !read("status").contains("Seccomp:\t2") {
        assert!(begun.elapsed() < Duration::from_secs(20), "no filter: {}", read("status"));
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(read("status").contains("NoNewPrivs:\t1"));
    let limits = read("limits");
    let limit =
        |name: &str| limits.lines().find(|line| line.starts_with(name)).unwrap().split_whitespace().rev().nth(2);
    assert_eq!(limit("Max address space"), Some("2684354560"));
    assert_eq!(limit("Max open files"), Some("0"));
    drop(worker.stdin.take());
    assert!(worker.wait().unwrap().success(), "it ends when its parent closes the pipe");
}

/// As in a pod: what root is allowed in spite of its limits, nobody else is.
#[test]
fn a_worker_starts_as_a_user_without_rights() {
    const NOBODY: u32 = 65_534;
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("docbrain-ingest");
    install(Path::new(env!("CARGO_BIN_EXE_docbrain-ingest")), &program);
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let mut command = Command::new(program);
    command.arg("parse-worker").current_dir("/").stdin(Stdio::null());
    if rustix::process::geteuid().is_root() {
        command.uid(NOBODY).gid(NOBODY);
    }
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}: {}", output.status, String::from_utf8_lossy(&output.stderr));
}

/// How a worker's answer begins.
fn frame_lengths(header: usize, body: usize) -> Vec<u8> {
    [header, body].into_iter().flat_map(|length| u32::try_from(length).unwrap().to_le_bytes()).collect()
}

fn zip(entries: &[(&str, &[u8])]) -> Vec<u8> {
    let mut archive = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, bytes) in entries {
        archive.start_file(*name, SimpleFileOptions::default()).unwrap();
        archive.write_all(bytes).unwrap();
    }
    archive.finish().unwrap().into_inner()
}

/// The archive with one entry's content replaced.
fn replace(archive: &[u8], entry: &str, content: &[u8]) -> Vec<u8> {
    let mut source = ZipArchive::new(Cursor::new(archive)).unwrap();
    let mut target = ZipWriter::new(Cursor::new(Vec::new()));
    for index in 0..source.len() {
        let file = source.by_index(index).unwrap();
        if file.name().unwrap() == entry {
            target.start_file(entry, SimpleFileOptions::default()).unwrap();
            target.write_all(content).unwrap();
        } else {
            target.raw_copy_file(file).unwrap();
        }
    }
    target.finish().unwrap().into_inner()
}

fn deflate(bytes: &[u8]) -> Vec<u8> {
    // A ZIP entry holds the raw stream; a PDF wants it with the zlib header, and no reader checks the sum.
    let archive = zip(&[("x", bytes)]);
    let mut opened = ZipArchive::new(Cursor::new(&archive)).unwrap();
    let entry = opened.by_index_raw(0).unwrap();
    let start = usize::try_from(entry.data_start().unwrap()).unwrap();
    let length = usize::try_from(entry.compressed_size()).unwrap();
    [b"\x78\x9c", &archive[start..start + length], &[0; 4]].concat()
}

/// A one-page PDF with this compressed content.
fn pdf_with_page(stream: &[u8]) -> Vec<u8> {
    let mut pdf = b"%PDF-1.4\n".to_vec();
    let mut offsets = Vec::new();
    let objects: [Vec<u8>; 5] = [
        b"<< /Type /Catalog /Pages 2 0 R >>".to_vec(),
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>".to_vec(),
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 600 800] /Contents 4 0 R /Resources << /Font << /F1 5 0 R >> >> >>".to_vec(),
        [format!("<< /Length {} /Filter /FlateDecode >>\nstream\n", stream.len()).as_bytes(), stream, b"\nendstream"].concat(),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>".to_vec(),
    ];
    for (index, object) in objects.iter().enumerate() {
        offsets.push(pdf.len());
        pdf.extend(format!("{} 0 obj\n", index + 1).as_bytes());
        pdf.extend(object);
        pdf.extend(b"\nendobj\n");
    }
    let table = pdf.len();
    pdf.extend(b"xref\n0 6\n0000000000 65535 f \n");
    for offset in offsets {
        pdf.extend(format!("{offset:010} 00000 n \n").as_bytes());
    }
    pdf.extend(format!("trailer\n<< /Size 6 /Root 1 0 R >>\nstartxref\n{table}\n%%EOF\n").as_bytes());
    pdf
}
