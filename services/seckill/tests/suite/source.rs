//! Rules of the house about the source itself, read as a compiler reads it: how long functions are, and
//! that no two folders need each other.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use proc_macro2::Span;
use syn::spanned::Spanned;
use syn::visit::{self, Visit};
use syn::{Attribute, ImplItemFn, Item, ItemFn, ItemMod, TraitItemFn, UseTree};

/// Lines of a function's body: the median, nine of ten, all.
const LONGEST: [usize; 3] = [7, 18, 49];
/// Of the lines of production, in hundredths: load generator and benchmarks.
const MEASURING: usize = 33;

pub(crate) fn top() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).expect("the top").to_owned()
}

/// The folders of crates.
pub(crate) fn crates() -> Vec<PathBuf> {
    let services = std::fs::read_dir(top().join("services")).expect("services/");
    let services = services.map(|entry| entry.expect("an entry").path());
    let mut crates: Vec<_> =
        services.chain(["proto", "benches"].map(|name| top().join(name))).collect();
    crates.retain(|path| path.join("src").is_dir());
    crates
}

pub(crate) fn files_in(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            files_in(&path, files);
        } else if path.extension().is_some_and(|end| end == "rs") {
            files.push(path);
        }
    }
}

fn sources(krate: &Path) -> Vec<(PathBuf, syn::File)> {
    let mut files = Vec::new();
    files_in(&krate.join("src"), &mut files);
    let parse = |path: PathBuf| {
        let text = std::fs::read_to_string(&path).expect("text");
        let file =
            syn::parse_file(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        (path, file)
    };
    files.into_iter().map(parse).collect()
}

fn is_of_tests(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        let cfg = attribute.path().is_ident("cfg");
        let test = attribute.path().is_ident("test");
        test || cfg && attribute.parse_args::<syn::Ident>().is_ok_and(|name| name == "test")
    })
}

fn lines(span: Span) -> usize {
    span.end().line - span.start().line + 1
}

/// The lines of production's functions, and of production.
#[derive(Default)]
struct Lengths {
    functions: Vec<(usize, String)>,
    of_tests: usize,
}

impl<'ast> Visit<'ast> for Lengths {
    fn visit_item_mod(&mut self, module: &'ast ItemMod) {
        if is_of_tests(&module.attrs) {
            self.of_tests += lines(module.span());
        } else {
            visit::visit_item_mod(self, module);
        }
    }

    fn visit_item_fn(&mut self, function: &'ast ItemFn) {
        if is_of_tests(&function.attrs) {
            self.of_tests += lines(function.span());
            return;
        }
        let length = lines(function.block.span());
        self.functions.push((length, function.sig.ident.to_string()));
        visit::visit_item_fn(self, function);
    }

    fn visit_impl_item_fn(&mut self, function: &'ast ImplItemFn) {
        let length = lines(function.block.span());
        self.functions.push((length, function.sig.ident.to_string()));
        visit::visit_impl_item_fn(self, function);
    }

    fn visit_trait_item_fn(&mut self, function: &'ast TraitItemFn) {
        if let Some(block) = &function.default {
            let length = lines(block.span());
            self.functions.push((length, function.sig.ident.to_string()));
        }
        visit::visit_trait_item_fn(self, function);
    }
}

#[test]
fn functions_are_short_and_most_of_the_code_is_the_product() {
    let (mut functions, mut all, mut measuring) = (Vec::new(), 0, 0);
    for krate in crates() {
        let mut in_crate = 0;
        for (path, file) in sources(&krate) {
            let mut lengths = Lengths::default();
            lengths.visit_file(&file);
            let text = std::fs::read_to_string(&path).expect("text");
            let is_test = path.ends_with("simulation.rs") || path.ends_with("scenario.rs");
            in_crate += if is_test { 0 } else { text.lines().count() - lengths.of_tests };
            let of_file = lengths.functions.into_iter().filter(|_| !is_test);
            functions.extend(of_file.map(|(length, name)| (length, name, path.clone())));
        }
        all += in_crate;
        if krate.ends_with("load") || krate.ends_with("benches") {
            measuring += in_crate;
        }
    }
    functions.sort();
    let at = |percent: usize| functions[(functions.len() - 1) * percent / 100].0;
    let (longest, name, path) = functions.last().expect("functions");
    let found = [at(50), at(90), *longest];
    let share = measuring * 100 / all;
    println!(
        "{} functions: p50, p90 and most lines {found:?}; the longest is {name} in {}",
        functions.len(),
        path.display()
    );
    println!("{all} lines of production, {share} % of them measure");
    for (found, allowed) in found.iter().zip(LONGEST) {
        assert!(*found <= allowed, "{found:?} lines, {LONGEST:?} are allowed");
    }
    assert!(share < MEASURING, "{share} % of production are load generator and benchmarks");
}

/// The paths from the crate's root that a file names.
#[derive(Default)]
struct Named(BTreeSet<Vec<String>>);

impl Named {
    fn note(&mut self, path: Vec<String>) {
        self.0.insert(path);
    }

    fn tree(&mut self, before: &[String], tree: &UseTree) {
        let mut path = before.to_vec();
        match tree {
            UseTree::Path(part) => {
                path.push(part.ident.to_string());
                self.tree(&path, &part.tree);
            }
            UseTree::Name(name) => self.note([path, vec![name.ident.to_string()]].concat()),
            UseTree::Rename(name) => self.note([path, vec![name.ident.to_string()]].concat()),
            UseTree::Glob(_) => self.note(path),
            UseTree::Group(group) => group.items.iter().for_each(|tree| self.tree(&path, tree)),
        }
    }
}

impl<'ast> Visit<'ast> for Named {
    fn visit_item(&mut self, item: &'ast Item) {
        let attributes = match item {
            Item::Mod(item) => &item.attrs,
            Item::Fn(item) => &item.attrs,
            Item::Use(item) => &item.attrs,
            _ => return visit::visit_item(self, item),
        };
        if !is_of_tests(attributes) {
            visit::visit_item(self, item);
        }
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        self.tree(&[], &item.tree);
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        self.0.insert(path.segments.iter().map(|part| part.ident.to_string()).collect());
        visit::visit_path(self, path);
    }
}

/// The modules of a crate: path from the root to the file, and what each file lends under another name.
struct Modules {
    files: BTreeMap<Vec<String>, PathBuf>,
    lent: BTreeMap<(Vec<String>, String), Vec<String>>,
}

impl Modules {
    fn of(krate: &Path, sources: &[(PathBuf, syn::File)]) -> Self {
        let source = krate.join("src");
        let mut modules = Self { files: BTreeMap::new(), lent: BTreeMap::new() };
        for (path, file) in sources {
            let inside = path.strip_prefix(&source).expect("inside").with_extension("");
            let mut module: Vec<String> =
                inside.iter().map(|part| part.to_string_lossy().into_owned()).collect();
            if module.last().is_some_and(|last| ["lib", "main", "mod"].contains(&last.as_str())) {
                module.pop();
            }
            for item in &file.items {
                let Item::Use(item) = item else { continue };
                let mut named = Named::default();
                named.tree(&[], &item.tree);
                for path in named.0 {
                    let name = path.last().expect("a name").clone();
                    modules.lent.insert((module.clone(), name), modules.absolute(&module, &path));
                }
            }
            modules.files.insert(module, path.clone());
        }
        modules
    }

    fn absolute(&self, module: &[String], path: &[String]) -> Vec<String> {
        match path[0].as_str() {
            "crate" => path[1..].to_vec(),
            "self" => [module, &path[1..]].concat(),
            "super" => {
                let up = path.iter().take_while(|part| *part == "super").count();
                [&module[..module.len().saturating_sub(up)], &path[up..]].concat()
            }
            _ => [module, path].concat(),
        }
    }

    /// The file in which what a path names is written.
    fn file(&self, module: &[String], path: &[String]) -> Option<&PathBuf> {
        let is_local = |first: &str| {
            ["crate", "self", "super"].contains(&first)
                || self.files.contains_key(&[module, &[first.to_owned()]].concat())
        };
        if path.len() < 2 || !is_local(&path[0]) {
            return None; // the second of `pub(crate)`, too
        }
        let mut path = self.absolute(module, path);
        for _ in 0..5 {
            let known =
                (0..=path.len()).rev().find(|end| self.files.contains_key(&path[..*end]))?;
            let file = self.files.get(&path[..known]);
            let Some(name) = path.get(known) else { return file };
            match self.lent.get(&(path[..known].to_vec(), name.clone())) {
                Some(lent) if *lent != path => path = [lent, &path[known + 1..]].concat(),
                _ => return file,
            }
        }
        None
    }
}

#[test]
fn no_two_folders_need_each_other() {
    let mut circles = Vec::new();
    for krate in crates() {
        let sources = sources(&krate);
        let modules = Modules::of(&krate, &sources);
        let mut needs: BTreeMap<&Path, BTreeSet<&Path>> = BTreeMap::new();
        for (module, path) in &modules.files {
            let (_, file) = sources.iter().find(|(other, _)| other == path).expect("its source");
            let mut named = Named::default();
            named.visit_file(file);
            let needed = named.0.iter().filter_map(|named| modules.file(module, named));
            let needed = needed.filter(|other| *other != path).map(PathBuf::as_path);
            needs.entry(path).or_default().extend(needed);
        }
        for (path, needed) in &needs {
            for other in needed.iter().filter(|other| folder(other) != folder(path)) {
                if let Some(way) = way(&needs, other, path) {
                    circles.push(format!(
                        "{} needs {}, and back: {way:?}",
                        path.display(),
                        other.display()
                    ));
                }
            }
        }
    }
    assert!(circles.is_empty(), "{circles:#?}");
}

/// A file that heads a folder, such as `audit.rs` that of `audit/`, belongs to it.
fn folder(path: &Path) -> PathBuf {
    let own = path.with_extension("");
    if own.is_dir() { own } else { path.parent().expect("a folder").to_owned() }
}

/// A way from one file to another over what each needs.
fn way<'a>(
    needs: &BTreeMap<&'a Path, BTreeSet<&'a Path>>,
    from: &'a Path,
    to: &Path,
) -> Option<Vec<&'a Path>> {
    let (mut ways, mut seen) = (vec![vec![from]], BTreeSet::from([from]));
    while let Some(way) = ways.pop() {
        let last = way[way.len() - 1];
        if last == to {
            return Some(way);
        }
        let next = needs.get(last).into_iter().flatten();
        ways.extend(
            next.filter(|next| seen.insert(next)).map(|next| [way.as_slice(), &[next]].concat()),
        );
    }
    None
}
