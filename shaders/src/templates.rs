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

/// Every template, by the name of its file.
const TEMPLATES: &[(&str, &str)] = &[
    ("adam.wgsl", include_str!("adam.wgsl")),
    ("concat.wgsl", include_str!("concat.wgsl")),
    ("cross_entropy.wgsl", include_str!("cross_entropy.wgsl")),
    ("cumsum.wgsl", include_str!("cumsum.wgsl")),
    ("elements.wgsl", include_str!("elements.wgsl")),
    ("gather.wgsl", include_str!("gather.wgsl")),
    ("index.wgsl", include_str!("index.wgsl")),
    ("place.wgsl", include_str!("place.wgsl")),
    ("scatter_add.wgsl", include_str!("scatter_add.wgsl")),
    ("scatter_sort.wgsl", include_str!("scatter_sort.wgsl")),
    ("sgd.wgsl", include_str!("sgd.wgsl")),
];

/// Stands before the origin of a line while a template is rendered. It is in no shader.
const MARK: char = '\u{e000}';

/// A rendered kernel, which knows where its lines come from.
#[derive(Debug)]
pub struct Rendering {
    /// The shader.
    pub text: String,
    /// For each line the template and the line in it.
    origins: Vec<(String, usize)>,
}

impl Rendering {
    /// Where a line (from 1) comes from: the template and its line.
    pub fn origin(&self, line: usize) -> Option<(&str, usize)> {
        let (template, line) = self.origins.get(line.checked_sub(1)?)?;
        Some((template, *line))
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

/// The text with the origin of each line at its end.
fn marked(name: &str, text: &str) -> String {
    let mut out = String::with_capacity(text.len() * 2);
    for (i, line) in text.lines().enumerate() {
        out.push_str(line);
        let code = line.trim_start();
        if !code.is_empty() && !code.starts_with('#') {
            out.push_str(&format!("{MARK}{name}:{}{MARK}", i + 1));
        }
        out.push('\n');
    }
    out
}

/// Takes the marks out again.
fn unmarked(text: &str) -> Rendering {
    let mut rendering = Rendering {
        text: String::with_capacity(text.len()),
        origins: Vec::new(),
    };
    for line in text.lines() {
        let mut origin = None;
        let before = rendering.text.len();
        // Text and marks take turns.
        for (i, part) in line.split(MARK).enumerate() {
            if i % 2 == 0 {
                rendering.text.push_str(part);
            } else if let (None, Some((name, line))) = (&origin, part.rsplit_once(':')) {
                origin = line.parse().ok().map(|line| (name.to_string(), line));
            }
        }
        // What is left of a call that stood alone on its line.
        let empty = rendering.text[before..].trim().is_empty();
        if empty && origin.is_some() {
            rendering.text.truncate(before);
            continue;
        }
        let known = rendering.origins.last().cloned();
        let nearest = || known.unwrap_or_default();
        rendering.origins.push(origin.unwrap_or_else(nearest));
        rendering.text.push('\n');
    }
    rendering
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
        for &(name, builtin) in TEMPLATES {
            let text = marked(name, &source_in(folder, name, builtin));
            environment.add_template_owned(name, text)?;
        }
        Ok(Templates(environment))
    }

    fn render(&self, name: &str, variables: &Value) -> Result<Rendering, TemplateError> {
        let text = self.0.get_template(name)?.render(variables)?;
        Ok(unmarked(&text))
    }
}

/// Renders the template of file `name`.
///
/// ```
/// use wgrad_shaders::{context, render};
/// let variables = context! {
///     segments => 1, keep => false, maximize => false, momentum => false, nesterov => false,
/// };
/// let kernel = render("sgd.wgsl", &variables)?;
/// assert!(kernel.text.contains("store4_goal(i, p - s.lr * g);"));
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
    let text = marked(name, text);
    let template = templates()?.0.template_from_named_str(name, &text)?;
    Ok(unmarked(&template.render(variables)?))
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
        let folder = folder("wgrad-lines", "adam.wgsl", text);
        let templates = Templates::new(Some(&folder)).unwrap();
        let rendering = templates.render("adam.wgsl", &context! {}).unwrap();
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
        assert!(templates.0.get_template("sgd.wgsl").is_ok());
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn errors_name_file_and_line() {
        let folder_of = |text| folder("wgrad-errors", "sgd.wgsl", text);
        let folder = folder_of("// one\n{{missing}}\n");
        let templates = Templates::new(Some(&folder)).unwrap();
        let error = templates
            .render("sgd.wgsl", &context! {})
            .unwrap_err()
            .to_string();
        assert!(
            error.starts_with("sgd.wgsl, line 2: undefined value"),
            "{error}"
        );
        folder_of("// one\n// two\n#if\n");
        let Err(error) = Templates::new(Some(&folder)) else {
            panic!("the template is not one");
        };
        assert!(
            error
                .to_string()
                .starts_with("sgd.wgsl, line 3: syntax error"),
            "{error}"
        );
        std::fs::remove_dir_all(folder).unwrap();
    }
}
