//! Rendering kernels.
//!
//! `{{expression}}` puts in a value; lines that begin with `#` are statements (`#if`, `#for`, `#set`,
//! `#macro`), those with `##` comments. None of these occur in WGSL. What is not defined is an error.

use std::borrow::Cow;
use std::fmt;
use std::path::Path;
use std::sync::OnceLock;

use minijinja::syntax::SyntaxConfig;
use minijinja::{Environment, Error, UndefinedBehavior, Value};

/// Name and text of files.
macro_rules! files {
    ($($name:literal),* $(,)?) => { &[$(($name, include_str!($name))),*] };
}

/// Every template, by the name of its file; in folders the parts that kernels include.
const TEMPLATES: &[(&str, &str)] = files![
    "attention.wgsl",
    "attention_lanes.wgsl",
    "attention/others.wgsl",
    "attention/scores.wgsl",
    "concat.wgsl",
    "cross_entropy.wgsl",
    "elements.wgsl",
    "fold.wgsl",
    "gather.wgsl",
    "index.wgsl",
    "map.wgsl",
    "matmul_lanes.wgsl",
    "matmul_registers.wgsl",
    "matmul_tiled.wgsl",
    "place.wgsl",
    "pool.wgsl",
    "reduce.wgsl",
    "rows.wgsl",
    "merged.wgsl",
    "scatter.wgsl",
    "scan.wgsl",
    "scatter_sort.wgsl",
    "search_sorted.wgsl",
    "sort.wgsl",
    "update.wgsl",
    "matmul/beside.wgsl",
    "matmul/counting.wgsl",
    "matmul/depth.wgsl",
    "matmul/place.wgsl",
    "matmul/store.wgsl",
    "reduce/accumulate.wgsl",
    "reduce/finish.wgsl",
];

/// Stands before the origin of a line while a template is rendered. It is in no shader.
const MARK: char = '\u{e000}';

/// A rendered kernel, which knows where its lines come from.
#[derive(Debug)]
pub struct Rendering {
    /// The shader.
    pub text: String,
    /// What the template is called that is none of [`TEMPLATES`], if it is: its lines are behind those.
    own: String,
    /// For each line the position of its template in [`TEMPLATES`] and the line there.
    origins: Vec<(usize, usize)>,
}

impl Rendering {
    /// Where a line (from 1) comes from: the template and its line.
    pub fn origin(&self, line: usize) -> Option<(&str, usize)> {
        let &(template, line) = self.origins.get(line.checked_sub(1)?)?;
        let name = TEMPLATES.get(template).map_or(&*self.own, |(name, _)| name);
        Some((name, line))
    }
}

/// What is wrong with a template, or with what it was given.
#[derive(Clone, Debug)]
pub struct TemplateError(String);

impl fmt::Display for TemplateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for TemplateError {}

impl From<Error> for TemplateError {
    fn from(error: Error) -> TemplateError {
        let problem = match error.detail() {
            Some(detail) => format!("{}: {detail}", error.kind()),
            None => error.kind().to_string(),
        };
        TemplateError(match (error.name(), error.line()) {
            (Some(name), Some(line)) => format!("{name}, line {line}: {problem}"),
            _ => problem,
        })
    }
}

/// A file's text: from the folder that `WGRAD_SHADERS` names if it is there, else as it was built in.
pub(crate) fn source(name: &str, builtin: &'static str) -> Cow<'static, str> {
    let folder = std::env::var_os("WGRAD_SHADERS");
    source_in(folder.as_deref().map(Path::new), name, builtin)
}

fn source_in(folder: Option<&Path>, name: &str, builtin: &'static str) -> Cow<'static, str> {
    match folder.map(|folder| std::fs::read_to_string(folder.join(name))) {
        Some(Ok(text)) => text.into(),
        _ => builtin.into(),
    }
}

/// The text of a template with the origin of each line at its end.
fn marked(template: usize, text: &str) -> String {
    let mut out = String::with_capacity(text.len() * 2);
    for (i, line) in text.lines().enumerate() {
        out.push_str(line);
        let code = line.trim_start();
        if !code.is_empty() && !code.starts_with('#') {
            out.push_str(&format!("{MARK}{template}:{}{MARK}", i + 1));
        }
        out.push('\n');
    }
    out
}

/// Takes the marks out again, and indents lines by the brackets around them, so that a part of a kernel
/// need not know how deep it will stand.
fn unmarked(text: &str, own: &str) -> Rendering {
    let mut rendering = Rendering {
        own: own.to_string(),
        text: String::with_capacity(text.len()),
        origins: Vec::new(),
    };
    // The last lines of those so far, whose origin is not known yet: all but the last of a text of
    // several lines that was put in.
    let mut unknown = 0;
    let mut depth = 0usize;
    for line in text.lines() {
        // Text and marks take turns.
        let mut parts = line.split(MARK);
        let mut code = Cow::from(parts.next().unwrap_or_default().trim_start());
        let mut origin = None;
        while let Some(mark) = parts.next() {
            if let (None, Some((template, line))) = (origin, mark.split_once(':')) {
                origin = template.parse().ok().zip(line.parse().ok());
            }
            code += parts.next().unwrap_or_default();
        }
        // What is left of a call that stood alone on its line.
        let left_over = code.trim().is_empty() && origin.is_some();
        match origin {
            Some(origin) => {
                let known = rendering.origins.len() - unknown;
                rendering.origins[known..].fill(origin);
                unknown = 0;
                if !left_over {
                    rendering.origins.push(origin);
                }
            }
            None => {
                let last = rendering.origins.last().copied();
                rendering.origins.push(last.unwrap_or_default());
                unknown += 1;
            }
        }
        if left_over {
            continue;
        }
        indented(&code, &mut depth, &mut rendering.text);
    }
    rendering
}

/// Appends a line within `depth` brackets, and counts those in it.
fn indented(line: &str, depth: &mut usize, out: &mut String) {
    let closes = |c: char| matches!(c, ')' | ']' | '}');
    let code = line.split("//").next().unwrap_or_default();
    let first = code.chars().take_while(|&c| closes(c)).count();
    if !line.is_empty() {
        (first..*depth).for_each(|_| out.push_str("    "));
    }
    out.push_str(line);
    out.push('\n');
    let opening = code.chars().filter(|c| matches!(c, '(' | '[' | '{'));
    *depth = (*depth + opening.count()).saturating_sub(code.chars().filter(|&c| closes(c)).count());
}

/// The templates, from a folder as far as it has them.
struct Templates(Environment<'static>);

impl Templates {
    fn new(folder: Option<&Path>) -> Result<Templates, TemplateError> {
        let mut environment = Environment::new();
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        environment.set_syntax(
            SyntaxConfig::builder()
                .line_statement_prefix("#")
                .line_comment_prefix("##")
                .keep_trailing_newline(true)
                .build()?,
        );
        for (i, &(name, builtin)) in TEMPLATES.iter().enumerate() {
            let text = marked(i, &source_in(folder, name, builtin));
            environment.add_template_owned(name, text)?;
        }
        Ok(Templates(environment))
    }

    fn render(&self, name: &str, variables: &Value) -> Result<Rendering, TemplateError> {
        let text = self.0.get_template(name)?.render(variables)?;
        Ok(unmarked(&text, name))
    }
}

/// Renders the template of file `name`.
///
/// ```
/// use wgrad_shaders::{context, render};
/// let variables = context! {
///     segments => 1, keep => false, numbers => 1, states => 0, program => "", values => ["p - n0 * g"],
///     decided => false, read => 0, first => 1,
/// };
/// let kernel = render("update.wgsl", &variables)?;
/// assert!(kernel.text.contains("store4_goal(i, p - n0 * g);"));
/// # Ok::<(), wgrad_shaders::TemplateError>(())
/// ```
///
/// # Errors
/// What is wrong with the template, or with what it was given, with file and line.
pub fn render(name: &str, variables: &Value) -> Result<Rendering, TemplateError> {
    templates()?.render(name, variables)
}

/// Renders a template that is none of the files; it may include them. `name` stands in errors.
///
/// # Errors
/// As [`render`].
pub fn render_text(name: &str, text: &str, variables: &Value) -> Result<Rendering, TemplateError> {
    let text = marked(TEMPLATES.len(), text);
    let template = templates()?.0.template_from_named_str(name, &text)?;
    Ok(unmarked(&template.render(variables)?, name))
}

fn templates() -> Result<&'static Templates, TemplateError> {
    static TEMPLATES: OnceLock<Result<Templates, TemplateError>> = OnceLock::new();
    let folder = std::env::var_os("WGRAD_SHADERS");
    let templates = TEMPLATES.get_or_init(|| Templates::new(folder.as_deref().map(Path::new)));
    templates.as_ref().map_err(TemplateError::clone)
}

#[cfg(test)]
mod tests {
    use minijinja::context;

    use super::*;

    fn folder(name: &str, file: &str, text: &str) -> std::path::PathBuf {
        let folder = std::env::temp_dir().join(format!("{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join(file), text).unwrap();
        folder
    }

    #[test]
    fn lines_know_where_they_come_from() {
        let text = "// one\n#for i in range(2)\nlet a{{i}} = {{i}}u;\n#endfor\nlast();\n";
        let folder = folder("wgrad-lines", "map.wgsl", text);
        let templates = Templates::new(Some(&folder)).unwrap();
        let rendering = templates.render("map.wgsl", &context! {}).unwrap();
        assert_eq!(
            rendering.text,
            "// one\nlet a0 = 0u;\nlet a1 = 1u;\nlast();\n"
        );
        let origins: Vec<_> = (1..=4)
            .map(|line| rendering.origin(line).unwrap().1)
            .collect();
        assert_eq!(origins, [1, 3, 3, 5]);
        assert_eq!(rendering.origin(5), None);
        // What the folder lacks is the program's own.
        assert!(templates.0.get_template("sort.wgsl").is_ok());
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn parts_and_texts_are_indented_and_known() {
        let text = "fn f() {\n{{text}}\n{{nothing}}\n#include \"sort.wgsl\"\n}\n";
        let folder = folder("wgrad-parts", "map.wgsl", text);
        std::fs::write(folder.join("sort.wgsl"), "if x { // (\ninner();\n}\n").unwrap();
        let templates = Templates::new(Some(&folder)).unwrap();
        let variables = context! { text => "a(\nb,\n);\n", nothing => "" };
        let rendering = templates.render("map.wgsl", &variables).unwrap();
        let want = [
            ("fn f() {", "map.wgsl", 1),
            ("    a(", "map.wgsl", 2),
            ("        b,", "map.wgsl", 2),
            ("    );", "map.wgsl", 2),
            ("    if x { // (", "sort.wgsl", 1),
            ("        inner();", "sort.wgsl", 2),
            ("    }", "sort.wgsl", 3),
            ("}", "map.wgsl", 5),
        ];
        let got: Vec<_> = rendering
            .text
            .lines()
            .enumerate()
            .map(|(i, line)| (line, rendering.origin(i + 1).unwrap()))
            .map(|(line, (file, at))| (line, file, at))
            .collect();
        assert_eq!(got, want);
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn errors_name_file_and_line() {
        let folder_of = |text| folder("wgrad-errors", "sort.wgsl", text);
        let folder = folder_of("// one\n{{missing}}\n");
        let templates = Templates::new(Some(&folder)).unwrap();
        let error = templates
            .render("sort.wgsl", &context! {})
            .unwrap_err()
            .to_string();
        assert!(
            error.starts_with("sort.wgsl, line 2: undefined value"),
            "{error}"
        );
        folder_of("// one\n// two\n#if\n");
        let Err(error) = Templates::new(Some(&folder)) else {
            panic!("the template is not one");
        };
        assert!(
            error
                .to_string()
                .starts_with("sort.wgsl, line 3: syntax error"),
            "{error}"
        );
        std::fs::remove_dir_all(folder).unwrap();
    }
}
