//! The Map kernel.

use wgrad_core::{Operand, Output, Program, ScalarBits, Shape};

use crate::executor::{Checker, Context, Launchable};
use crate::interpreter::{self, BLOCK, Code, Source};
use crate::parallel::{self, PARALLEL_ELEMENTS};
use crate::scratch;

/// A prepared Map.
pub(crate) struct Map {
    code: Code,
    outputs: Vec<Output>,
    numel: usize,
}

impl Map {
    pub fn new(
        checker: &Checker<'_>,
        shape: &Shape,
        inputs: &[Operand],
        program: &Program,
        outputs: &[Output],
    ) -> Result<Map, String> {
        let numel = checker.outputs(shape, outputs, program)?;
        let mut sources = Vec::with_capacity(inputs.len());
        for input in inputs {
            checker.operand(input, Some(shape))?;
            sources.push(Source::new(input, &input.layout));
        }
        Ok(Map {
            code: Code::new(program, sources)?,
            outputs: outputs.to_vec(),
            numel,
        })
    }
}

impl Launchable for Map {
    fn scalars(&self) -> usize {
        self.code.scalars()
    }

    fn launch(&self, context: &Context<'_>, scalars: &[ScalarBits]) -> Option<i64> {
        let buffers = context.buffers;
        let targets = interpreter::targets(&self.outputs, buffers);
        let direct = interpreter::are_apart(self.code.sources(), &self.outputs, buffers);
        let parallel = self.numel >= PARALLEL_ELEMENTS;
        parallel::for_ranges(parallel, self.numel, BLOCK, |start, end| {
            scratch::with(|scratch| {
                let mut machine = self.code.start(buffers, scalars, end - start, scratch);
                for position in (start..end).step_by(BLOCK) {
                    let n = BLOCK.min(end - position);
                    // SAFETY: operands and outputs were checked against the buffers' sizes, and
                    // tasks have disjoint ranges.
                    unsafe { machine.run_to(&targets, direct, position, n) };
                }
            });
        });
        None
    }
}
