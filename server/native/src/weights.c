#include "weights.h"

#include <stdlib.h>

#include "memory.h"

/* Returns torch's gate in a part of the sums; see ur_cell_shape. */
static size_t gate_of(int32_t cell, size_t part) { return cell == UR_GRU ? (part + 2) % 3 : part; }

/* Returns a layer without memory. */
static layer_weights layer_of(const ur_spec *spec, int32_t layer) {
    const ur_cell_shape shape = ur_shape_of(spec->cell);
    size_t state = ur_state_size(spec), inputs = layer ? state : spec->is_one_hot ? 0 : spec->inputs;
    size_t other_inputs = layer && spec->directions == 2 ? state : 0;
    return (layer_weights){
        .base_rows = !layer && spec->is_one_hot ? spec->symbols + 1 : 1,
        .matrices = {{NULL, inputs, spec->hidden, shape.first_input_part, shape.input_parts},
                     {NULL, other_inputs, spec->hidden, shape.first_input_part, shape.input_parts},
                     {NULL, state, spec->hidden, 0, shape.state_parts},
                     {NULL, spec->projection ? spec->hidden : 0, state, 0, 1}},
    };
}

static size_t base_nbytes(const layer_weights *layer, const ur_spec *spec) {
    return sizeof(float) * (layer->base_rows * ur_sum_size(spec) + OVERREAD);
}

static size_t matrix_nbytes(const packed_matrix *matrix, const ur_kernels *kernels) {
    return sizeof(float) * ur_packed_floats(kernels, matrix->parts, matrix->units, matrix->k_count);
}

size_t ur_weights_nbytes(const ur_spec *spec) {
    const ur_kernels *kernels = ur_selected_kernels();
    size_t directions = (size_t)spec->directions, size = sizeof(ur_weights);
    for (int32_t at = 0; at < spec->layers; at++) {
        const layer_weights layer = layer_of(spec, at);
        size += directions * (sizeof layer + ur_held_nbytes(base_nbytes(&layer, spec)));
        for (int kind = 0; kind < MATRICES; kind++) {
            size += directions * ur_held_nbytes(matrix_nbytes(&layer.matrices[kind], kernels));
        }
    }
    return size + (spec->is_one_hot ? 0 : ur_held_nbytes(sizeof(float) * spec->inputs));
}

/* Packs columns of a matrix, whose rows have `columns` numbers, from `from` on: block by block of units, part by part, panel
 * by panel, and in a panel k by k. */
static void pack(const packed_matrix *matrix, const ur_kernels *kernels, int32_t cell, const float *from, size_t columns) {
    float *to = matrix->packed;
    for (size_t unit = 0; unit < matrix->units; unit += BLOCK_UNITS) {
        size_t units = matrix->units - unit < BLOCK_UNITS ? matrix->units - unit : BLOCK_UNITS;
        size_t padded = ur_padded_units(kernels, units);
        for (size_t part = 0; part < matrix->parts; part++) {
            size_t gate = gate_of(cell, matrix->first_part + part);
            const float *rows = from + (gate * matrix->units + unit) * columns;
            for (size_t at = 0; at < padded; at += kernels->panel) {
                size_t width = padded - at < kernels->panel ? padded - at : kernels->panel;
                for (size_t column = 0; column < width && at + column < units; column++) {
                    const float *row = rows + (at + column) * columns;
                    for (size_t k = 0; k < matrix->k_count; k++) to[k * width + column] = row[k];
                }
                to += matrix->k_count * width;
            }
        }
    }
}

/* Fills `base`: what starts the sums. */
static void fill_base(layer_weights *layer, const ur_spec *spec, const ur_parameters *from) {
    const ur_cell_shape shape = ur_shape_of(spec->cell);
    size_t hidden = spec->hidden, stride = ur_sum_size(spec);
    for (size_t part = 0; part < shape.parts; part++) {
        /* The GRU's two sums of n have one bias each. */
        bool has_input = part >= shape.first_input_part, has_state = part < shape.state_parts;
        for (size_t unit = 0; unit < hidden; unit++) {
            size_t row = gate_of(spec->cell, part) * hidden + unit;
            float bias = 0;
            if (from->bias_ih && has_input && has_state) {
                bias = from->bias_ih[row] + from->bias_hh[row];
            } else if (from->bias_ih) {
                bias = has_input ? from->bias_ih[row] : from->bias_hh[row];
            }
            const float *inputs = has_input ? from->weight_ih + row * spec->inputs : NULL;
            float *to = layer->base + part * hidden + unit;
            size_t last = layer->base_rows - 1;
            for (size_t at = 0; at < last; at++) to[at * stride] = inputs ? inputs[at] + bias : bias;
            to[last * stride] = bias;
        }
    }
}

static int fill_layer(layer_weights *layer, const ur_weights *weights, const ur_parameters *from) {
    const ur_spec *spec = &weights->spec;
    size_t inputs = layer->matrices[INPUTS].k_count, columns = inputs + layer->matrices[OTHER_INPUTS].k_count;
    const struct {
        const float *from;
        size_t columns;
    } given[MATRICES] = {{from->weight_ih, columns},
                         {from->weight_ih + inputs, columns},
                         {from->weight_hh, weights->state_size},
                         {from->weight_hr, spec->hidden}};
    if (!(layer->base = ur_allocate(base_nbytes(layer, spec)))) return -1;
    fill_base(layer, spec, from);
    for (int kind = 0; kind < MATRICES; kind++) {
        packed_matrix *matrix = &layer->matrices[kind];
        if (!matrix->k_count) continue;
        if (!(matrix->packed = ur_allocate(matrix_nbytes(matrix, weights->kernels)))) return -1;
        pack(matrix, weights->kernels, spec->cell, given[kind].from, given[kind].columns);
    }
    return 0;
}

ur_weights *ur_weights_new(const ur_spec *spec, const ur_parameters *parameters) {
    size_t count = (size_t)spec->layers * (size_t)spec->directions;
    UR_ASSERT(spec->hidden && spec->layers > 0 && (spec->directions == 1 || spec->directions == 2));
    ur_weights *weights = calloc(1, sizeof *weights + count * sizeof(layer_weights));
    if (!weights) return NULL;
    weights->kernels = ur_selected_kernels();
    weights->spec = *spec;
    weights->state_size = ur_state_size(spec);
    weights->output_size = weights->state_size * (size_t)spec->directions;
    weights->sum_size = ur_sum_size(spec);
    int status = 0;
    if (!spec->is_one_hot && !(weights->zero_vector = ur_allocate(sizeof(float) * spec->inputs))) status = -1;
    ur_float_mode saved = ur_enter_float_mode();
    for (size_t at = 0; at < count && !status; at++) {
        weights->layers[at] = layer_of(spec, (int32_t)at / spec->directions);
        status = fill_layer(&weights->layers[at], weights, &parameters[at]);
    }
    ur_leave_float_mode(saved);
    if (!status) return weights;
    ur_weights_free(weights);
    return NULL;
}

void ur_weights_free(ur_weights *weights) {
    if (!weights) return;
    const ur_spec *spec = &weights->spec;
    for (int32_t at = 0; at < spec->layers * spec->directions; at++) {
        layer_weights *layer = &weights->layers[at];
        ur_release(layer->base, base_nbytes(layer, spec));
        for (int kind = 0; kind < MATRICES; kind++) {
            packed_matrix *matrix = &layer->matrices[kind];
            ur_release(matrix->packed, matrix_nbytes(matrix, weights->kernels));
        }
    }
    ur_release(weights->zero_vector, sizeof(float) * spec->inputs);
    free(weights);
}
