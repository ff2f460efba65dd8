"""The methods of verification: a module for each, with its `Method` record, and the list of all."""

from xbackprop.verification.findings import Method
from xbackprop.verification.methods import complex_step, dot_product, oracle, paper, reference, richardson, taylor

#: Every method by its name, in the order in which they run.
METHODS: dict[str, Method] = {
    module.METHOD.name: module.METHOD
    for module in (complex_step, richardson, taylor, dot_product, oracle, reference, paper)
}
