//! Measures the shape of the code: closures, long or wide functions, patterns that the style guide rules out. Test modules are
//! left out.

use std::collections::HashMap;

use syn::spanned::Spanned;
use syn::visit::{self, Visit};

use crate::Source;

/// Counts, unless the name gives another unit.
#[derive(Default)]
pub struct Code {
    /// Per 1,000 code lines.
    pub closures: f64,
    pub bool_matches: f64,
    pub blind_filters: f64,
    pub string_errors: f64,
    pub long_functions: f64,
    /// Lines.
    pub longest_function: f64,
    pub wide_functions: f64,
    pub most_fields: f64,
    pub most_methods: f64,
}

const MAX_LINES: usize = 60;
const MAX_PARAMETERS: usize = 4;

/// Measures the code of these files.
pub fn measure(sources: &[Source]) -> Code {
    let mut visitor = Visitor::default();
    let mut lines = 0;
    for source in sources {
        visitor.visit_file(&source.syntax);
        lines += source.text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with("//")).count();
    }
    let code_lines = lines.saturating_sub(visitor.test_lines);
    let most = |counts: &HashMap<String, usize>| counts.values().copied().max().unwrap_or(0) as f64;
    Code {
        closures: visitor.closures as f64 * 1000.0 / code_lines as f64,
        bool_matches: visitor.bool_matches as f64,
        blind_filters: visitor.blind_filters as f64,
        string_errors: visitor.string_errors as f64,
        long_functions: visitor.function_lines.iter().filter(|&&lines| lines > MAX_LINES).count() as f64,
        longest_function: visitor.function_lines.iter().copied().max().unwrap_or(0) as f64,
        wide_functions: visitor.wide_functions as f64,
        most_fields: visitor.most_fields as f64,
        most_methods: most(&visitor.methods),
    }
}

#[derive(Default)]
struct Visitor {
    closures: usize,
    bool_matches: usize,
    blind_filters: usize,
    string_errors: usize,
    function_lines: Vec<usize>,
    wide_functions: usize,
    most_fields: usize,
    /// By the name of the type, over all files: the blocks of one type may stand in several.
    methods: HashMap<String, usize>,
    test_lines: usize,
}

impl Visitor {
    fn function(&mut self, signature: &syn::Signature, block: &syn::Block) {
        self.function_lines.push(span_lines(block));
        let parameters = signature.inputs.iter().filter(|input| matches!(input, syn::FnArg::Typed(_))).count();
        self.wide_functions += usize::from(parameters > MAX_PARAMETERS);
    }
}

fn span_lines(node: &impl Spanned) -> usize {
    let span = node.span();
    span.end().line.saturating_sub(span.start().line) + 1
}

fn is_test(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("test")
            || (attribute.path().is_ident("cfg")
                && attribute.parse_args::<syn::Path>().is_ok_and(|path| path.is_ident("test")))
    })
}

impl<'ast> Visit<'ast> for Visitor {
    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        if is_test(&item.attrs) {
            self.test_lines += span_lines(item);
            return;
        }
        visit::visit_item_mod(self, item);
    }

    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        if is_test(&item.attrs) {
            self.test_lines += span_lines(item);
            return;
        }
        self.function(&item.sig, &item.block);
        visit::visit_item_fn(self, item);
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        self.function(&item.sig, &item.block);
        visit::visit_impl_item_fn(self, item);
    }

    fn visit_item_impl(&mut self, item: &'ast syn::ItemImpl) {
        if item.trait_.is_none()
            && let syn::Type::Path(path) = &*item.self_ty
            && let Some(segment) = path.path.segments.last()
        {
            let count = item.items.iter().filter(|item| matches!(item, syn::ImplItem::Fn(_))).count();
            *self.methods.entry(segment.ident.to_string()).or_default() += count;
        }
        visit::visit_item_impl(self, item);
    }

    fn visit_item_struct(&mut self, item: &'ast syn::ItemStruct) {
        self.most_fields = self.most_fields.max(item.fields.len());
        visit::visit_item_struct(self, item);
    }

    fn visit_expr_closure(&mut self, closure: &'ast syn::ExprClosure) {
        self.closures += 1;
        visit::visit_expr_closure(self, closure);
    }

    fn visit_expr_match(&mut self, expression: &'ast syn::ExprMatch) {
        let is_bool =
            |pattern: &syn::Pat| matches!(pattern, syn::Pat::Lit(literal) if matches!(literal.lit, syn::Lit::Bool(_)));
        self.bool_matches += usize::from(expression.arms.iter().any(|arm| is_bool(&arm.pat)));
        visit::visit_expr_match(self, expression);
    }

    fn visit_expr_method_call(&mut self, call: &'ast syn::ExprMethodCall) {
        let is_blind = |argument: &syn::Expr| matches!(argument, syn::Expr::Closure(closure) if closure.inputs.iter().all(|input| matches!(input, syn::Pat::Wild(_))));
        self.blind_filters += usize::from(call.method == "filter" && call.args.iter().all(is_blind));
        visit::visit_expr_method_call(self, call);
    }

    fn visit_path_segment(&mut self, segment: &'ast syn::PathSegment) {
        if segment.ident == "Result"
            && let syn::PathArguments::AngleBracketed(arguments) = &segment.arguments
            && let Some(syn::GenericArgument::Type(syn::Type::Path(error))) = arguments.args.iter().nth(1)
        {
            self.string_errors += usize::from(error.path.is_ident("String"));
        }
        visit::visit_path_segment(self, segment);
    }
}
