//! Small sets that come with the library.
//!
//! Sources and licences are in `crates/data/sets/README.md`; all but diabetes are of the UCI Machine Learning
//! Repository, CC BY 4.0. The numbers are the sources' own: nothing is scaled.

use std::io::Read;

use wgrad_core::{Element, Shape};

use crate::{Array, Set};

/// 1,797 handwritten digits, each 8 rows of 8 pixels from 0 to 16, in their original order (E. Alpaydin and C. Kaynak,
/// 1998).
///
/// ```
/// use wgrad::data::{Dataset, sets};
///
/// let digits = sets::digits();
/// assert_eq!(digits.x.dims(), [1797, 64]);
/// let images = digits.x.reshape([1797, 1, 8, 8])?.map(|v| v / 16.0);
/// assert_eq!(images.row(0)?.dims(), [1, 8, 8]);
/// # Ok::<(), wgrad::Error>(())
/// ```
pub fn digits() -> Set {
    classes(include_bytes!("../sets/digits.csv.gz"))
}

/// 150 irises of three species by the length and width of sepals and petals in cm (R. A. Fisher, 1936).
///
/// ```
/// let iris = wgrad::data::sets::iris();
/// assert_eq!(iris.class_names, ["setosa", "versicolor", "virginica"]);
/// assert_eq!(iris.feature_names[0], "sepal length (cm)");
/// ```
pub fn iris() -> Set {
    classes(include_bytes!("../sets/iris.csv.gz"))
}

/// 178 wines of three cultivars by 13 chemical measurements (S. Aeberhard and M. Forina, 1992).
///
/// ```
/// assert_eq!(wgrad::data::sets::wine().x.dims(), [178, 13]);
/// ```
pub fn wine() -> Set {
    classes(include_bytes!("../sets/wine.csv.gz"))
}

/// 569 breast masses by 30 measurements of cell nuclei: 0 malignant, 1 benign (W. Wolberg and others, 1993).
///
/// ```
/// let set = wgrad::data::sets::breast_cancer();
/// assert_eq!(set.x.dims(), [569, 30]);
/// assert_eq!(set.y.iter().filter(|&&y| y == 1).count(), 357);
/// ```
pub fn breast_cancer() -> Set {
    classes(include_bytes!("../sets/breast_cancer.csv.gz"))
}

/// 442 patients by age, sex, body mass index, blood pressure and six serum measurements; what is predicted is a
/// measure of the disease's progression after a year (B. Efron and others, 2004).
///
/// ```
/// let set = wgrad::data::sets::diabetes();
/// assert_eq!(set.x.dims(), [442, 10]);
/// assert_eq!(set.y[0], 151.0);
/// ```
pub fn diabetes() -> Set<f32> {
    let (set, _) = read(include_bytes!("../sets/diabetes.csv.gz"), |y| y);
    set
}

fn classes(file: &[u8]) -> Set {
    let (mut set, names) = read(file, |y| y as i32);
    set.class_names = names.split('|').map(str::to_string).collect();
    set
}

/// A set as `sets/export.py` writes it, and what follows the target's name. The files are part of the library, so that
/// none can be wrong.
fn read<Y: Element>(file: &[u8], target: impl Fn(f32) -> Y) -> (Set<Y>, String) {
    let mut text = String::new();
    let mut unpacked = flate2::read::GzDecoder::new(file);
    unpacked.read_to_string(&mut text).expect("a sound file");
    let (header, rows) = text.split_once('\n').expect("a header");
    let mut names: Vec<String> = header.split(',').map(str::to_string).collect();
    let last = names.pop().expect("a target");
    let (target_name, more) = last.split_once(':').unwrap_or((&last, ""));
    let (mut x, mut y) = (Vec::new(), Vec::new());
    for row in rows.lines() {
        let mut values = row.split(',').map(|v| v.parse::<f32>().expect("a number"));
        x.extend(values.by_ref().take(names.len()));
        y.push(target(values.next().expect("a target")));
    }
    let shape = Shape::new(&[y.len(), names.len()]);
    let set = Set {
        x: Array::new(x, shape).expect("full rows"),
        y,
        feature_names: names,
        class_names: Vec::new(),
        target_name: target_name.to_string(),
    };
    (set, more.to_string())
}
