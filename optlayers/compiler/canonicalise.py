"""From CVXPY constraints to one conic form; the only file that touches CVXPY's canonicalisation.

The chain is CVXPY's own: `Dcp2Cone` rewrites every atom as cone constraints, with parameters kept symbolic (DPP), and
`ConeMatrixStuffing` collects the coefficients. Between the two, attributes of variables (`nonneg`, `PSD`, ...) become
ordinary constraints on a plain variable of the same shape, so that the coordinates of ``y`` are the entries of the
user's tensors, in C order, and distances are Euclidean in them.
"""

import warnings
from collections.abc import Sequence
from typing import Any

import cvxpy as cp
import numpy as np
import scipy.sparse as sp
from cvxpy.constraints.exponential import ExpCone
from cvxpy.constraints.nonpos import Inequality, NonNeg
from cvxpy.constraints.power import PowCone3D
from cvxpy.constraints.psd import PSD
from cvxpy.constraints.second_order import SOC
from cvxpy.constraints.zero import Equality, Zero
from cvxpy.reductions.cone2cone.approx import APPROX_CONE_CONVERSIONS, ApproxCone2Cone
from cvxpy.reductions.cone2cone.exact import EXACT_CONE_CONVERSIONS, ExactCone2Cone
from cvxpy.reductions.dcp2cone.cone_matrix_stuffing import ConeMatrixStuffing
from cvxpy.reductions.dcp2cone.dcp2cone import Dcp2Cone
from cvxpy.utilities.solver_context import SolverInfo

from optlayers.compiler.affine_rows import AffineRows
from optlayers.compiler.conic_form import ConicForm
from optlayers.compiler.squares import balance
from optlayers.compiler.stuffed_rows import sort_rows
from optlayers.declaration.snapshot import Snapshot
from optlayers.declaration.wording import describe

_SUPPORTED = frozenset({Zero, NonNeg, SOC, PSD, ExpCone, PowCone3D})
_STUFFED = _SUPPORTED | {Equality, Inequality}


def compile_constraints(snapshot: Snapshot) -> tuple[ConicForm, list[np.ndarray]]:
    """Return the conic form of DCP constraints, DPP in the parameters, and which rows have each one's dual values.

    The rows are numbered as in `ConicForm.rows`, in CVXPY's order: by columns of the constraint's expression; heads,
    then tails of second-order cones; all first, second, third entries of exponential and power cones. There are none
    for constraints that CVXPY converts to cones of other kinds.
    """
    constraints, variables, parameters = snapshot.constraints, snapshot.variables, snapshot.parameters
    labels = [describe(c, k) for k, c in zip(snapshot.positions, constraints, strict=True)]
    origins = list(range(len(constraints)))
    conic = _canonicalise(constraints)
    attributed, plain = _plain_leaves(conic, variables, parameters)
    rewritten = [(con.tree_copy(plain), source) for con, source, _ in conic]
    dual_rows = [con.id for (con, _), (_, _, has_duals) in zip(rewritten, conic, strict=True) if has_duals]
    for variable, source in attributed:
        for attribute, con in _attribute_constraints(variable, plain[id(variable)]):
            label = f"{attribute} of variable {variable.name()}"
            if source is None and (origins[-1:] != [-1] or labels[-1] != label):
                labels.append(label)
                origins.append(-1)
            copied = con.tree_copy(plain)  # its bounds may be parameters with attributes
            rewritten.append((copied, len(labels) - 1 if source is None else source))
    plain_variables, plain_parameters = (
        [plain.get(id(leaf), leaf) for leaf in part] for part in (variables, parameters)
    )
    stuffed = _collect_rows(rewritten, plain_variables, plain_parameters, len(labels))
    form, rows_by_id = sort_rows(*stuffed, sum(v.size for v in variables), labels, origins)
    empty = np.zeros(0, dtype=np.int64)
    rows_of = {source: rows_by_id[con.id] for con, source in rewritten if con.id in dual_rows}
    form = balance(form, set(np.concatenate([empty, *rows_of.values()]).tolist()))
    return form, [rows_of.get(k, empty) for k in range(len(constraints))]


def _canonicalise(constraints: Sequence[cp.Constraint]) -> list[tuple[cp.Constraint, int, bool]]:
    """Return conic constraints with affine arguments, the numbers of those they come from, and which carry duals."""
    context = SolverInfo(solver="optlayers", supported_constraints=_SUPPORTED)
    reduction = Dcp2Cone(quad_obj=False, solver_context=context)
    problem, inverse = reduction.apply(cp.Problem(cp.Minimize(0), list(constraints)))
    last = [inverse.cons_id_map[c.id] for c in constraints]
    result: list[tuple[cp.Constraint, int, bool]] = []
    source = 0
    for con in problem.constraints:
        simple = _to_supported_cones(con)
        has_duals = source < len(last) and con.id == last[source]
        result.extend((part, source, has_duals and len(simple) == 1) for part in simple)
        if has_duals:
            source += 1
    if source < len(last):
        raise RuntimeError("this version of CVXPY orders canonical constraints in an unexpected way")
    return result


def _to_supported_cones(constraint: cp.Constraint) -> list[cp.Constraint]:
    """Convert cones outside the supported families by CVXPY's own conversions (none for most constraints)."""
    if type(constraint) in _STUFFED:
        return [constraint]
    problem = cp.Problem(cp.Minimize(0), [constraint])
    if type(constraint) in EXACT_CONE_CONVERSIONS:
        reduction = ExactCone2Cone(target_cones={type(constraint)})
    elif type(constraint) in APPROX_CONE_CONVERSIONS:
        reduction = ApproxCone2Cone(target_cones={type(constraint)})
    else:
        raise ValueError(f"constraints of type {type(constraint).__name__} are not supported: {constraint}")
    return [simple for con in reduction.apply(problem)[0].constraints for simple in _to_supported_cones(con)]


def _plain_leaves(
    conic: Sequence[tuple[cp.Constraint, int, bool]],
    variables: Sequence[cp.Variable],
    parameters: Sequence[cp.Parameter],
) -> tuple[list[tuple[cp.Variable, int | None]], dict[int, Any]]:
    """Return variables with attributes, and the plain leaves that replace leaves with attributes, by id of these.

    Each variable comes with the source that introduced it, None for the user's own.
    """
    sources: dict[int, tuple[cp.Variable, int | None]] = {id(v): (v, None) for v in variables}
    for con, source, _ in conic:
        for v in con.variables():
            sources.setdefault(id(v), (v, source))
    attributed = [(v, source) for v, source in sources.values() if _has_attributes(v)]
    replacement: dict[int, Any] = {id(v): cp.Variable(v.shape, name=v.name()) for v, _ in attributed}
    replacement |= {id(p): cp.Parameter(p.shape, name=p.name()) for p in parameters if _has_attributes(p)}
    return attributed, replacement


def _has_attributes(leaf: cp.Variable | cp.Parameter) -> bool:
    return any(value is not None and value is not False for value in leaf.attributes.values())


def _attribute_constraints(variable: cp.Variable, plain: cp.Variable) -> list[tuple[str, cp.Constraint]]:
    """Write the attributes of `variable` as constraints on the plain variable that replaces it."""
    attributes = variable.attributes
    bounds: list[cp.Constraint] = []
    variable._bound_domain(plain, bounds)  # noqa: SLF001 CVXPY offers no other way
    signs = [name for name in ("nonneg", "nonpos", "pos", "neg", "bounds") if attributes[name] not in (None, False)]
    result = [("/".join(signs), con) for con in bounds]
    if attributes["symmetric"] or attributes["PSD"] or attributes["NSD"]:
        name = next(a for a in ("PSD", "NSD", "symmetric") if attributes[a])
        *batch, row, column = np.indices(variable.shape).reshape(len(variable.shape), -1)
        upper = row < column
        batch = [b[upper] for b in batch]
        if upper.any():
            upper_triangle, lower_triangle = (row[upper], column[upper]), (column[upper], row[upper])
            result.append((name, plain[(*batch, *upper_triangle)] == plain[(*batch, *lower_triangle)]))
    if attributes["PSD"]:
        result.append(("PSD", plain >> 0))
    if attributes["NSD"]:
        result.append(("NSD", plain << 0))
    if attributes["diag"] or attributes["sparsity"]:
        free = np.eye(*variable.shape, dtype=bool) if attributes["diag"] else np.zeros(variable.shape, dtype=bool)
        if attributes["sparsity"]:
            free[tuple(variable.sparse_idx or ())] = True
        if not free.all():
            result.append(("diag" if attributes["diag"] else "sparsity", plain[np.nonzero(~free)] == 0))
    return result


def _collect_rows(
    conic: Sequence[tuple[cp.Constraint, int]],
    variables: Sequence[cp.Variable],
    parameters: Sequence[cp.Parameter],
    labels: int,
) -> tuple[Sequence[Any], AffineRows]:
    """Return constraints in CVXPY's order of cones, and their rows, with entries of leaves in C order."""
    size, count = sum(v.size for v in variables), sum(p.size for p in parameters)
    if not conic:
        return [], AffineRows(sp.csr_array((0, (size + 1) * (count + 1))), size, count, sp.csr_array((0, labels)))
    with warnings.catch_warnings():  # that CVXPY takes another backend for arrays of three dimensions
        warnings.filterwarnings("ignore", ".*dimension greater than 2", UserWarning)
        program, _ = ConeMatrixStuffing(quad_obj=False).apply(cp.Problem(cp.Minimize(0), [con for con, _ in conic]))
    m, n = program.constr_size, program.x.size
    others = [v for v in program.variables if all(v.id != u.id for u in variables)]
    column_of, end = _c_order([*variables, *others], program.var_id_to_col, n)
    parameter_of, _ = _c_order(parameters, program.param_id_to_col, program.total_param_size)
    parameter_of = np.append(parameter_of, count)  # the constant term
    coo = sp.coo_array(program.A)
    column, row = np.divmod(coo.row.astype(np.int64), m)
    column = np.append(column_of, end)[column]
    index = column * (count + 1) + parameter_of[coo.col]
    source_of = {con.id: source for con, source in conic}
    source = np.repeat([source_of[con.id] for con in program.constraints], [con.size for con in program.constraints])
    sources = sp.csr_array((np.ones(m), source, np.arange(m + 1)), shape=(m, labels))
    data = sp.csr_array((coo.data, (row, index)), shape=(m, (end + 1) * (count + 1)))
    data.eliminate_zeros()
    return program.constraints, AffineRows(data, end, count, sources)


def _c_order(leaves: Sequence[cp.Variable | cp.Parameter], starts: dict[int, int], size: int) -> tuple[np.ndarray, int]:
    """Return, for each of CVXPY's (column-major) entries, its position in the leaves' concatenation in C order."""
    position, start = np.zeros(size, dtype=np.int64), 0
    for leaf in leaves:
        if leaf.id in starts:
            entries = np.arange(leaf.size).reshape(leaf.shape).ravel(order="F")
            position[starts[leaf.id] + np.arange(leaf.size)] = start + entries
        start += leaf.size
    unknown = starts.keys() - {leaf.id for leaf in leaves} - {-1}
    if unknown:
        raise RuntimeError(f"CVXPY's program has leaves that were not declared: {sorted(unknown)}")
    return position, start
