#include "weights.h"

#include <stdlib.h>

#include "memory.h"

/* Returns torch's gate in a part of the sums; see ur_cell_shape. */
static size_t gate_of(int32_t cell, size_t part) { return cell == UR_GRU ? (part + 2) % 3 : part; }

static size_t base_floats(const layer_weights *layer, const ur_spec *spec) {
    return layer->base_rows * ur_sum_size(spec) + OVERREAD;
}

/* Returns the sizes of a layer, without memory. */
static layer_weights layer_sizes(const ur_spec *spec, int32_t layer) {
    layer_weights sizes = {.base_rows = 1};
    size_t state = ur_state_size(spec);
    if (layer > 0) {
        sizes.x_size[0] = state;
        sizes.x_size[1] = spec->directions == 2 ? state : 0;
    } else if (spec->is_one_hot) {
        sizes.base_rows = spec->symbols;
    } else {
        sizes.x_size[0] = spec->inputs;
    }
    return sizes;
}

/* The floats of each packed matrix of a layer: x[0], x[1], state, projection. */
typedef struct packed_sizes {
    size_t x[2], state, projection;
} packed_sizes;

static packed_sizes packed_sizes_of(const ur_kernels *kernels, const ur_spec *spec, const layer_weights *layer) {
    const ur_cell_shape shape = ur_shape_of(spec->cell);
    size_t state = ur_state_size(spec);
    return (packed_sizes){
        {ur_packed_floats(kernels, shape.input_parts, spec->hidden, layer->x_size[0]),
         ur_packed_floats(kernels, shape.input_parts, spec->hidden, layer->x_size[1])},
        ur_packed_floats(kernels, shape.state_parts, spec->hidden, state),
        spec->projection ? ur_packed_floats(kernels, 1, state, spec->hidden) : 0,
    };
}

size_t ur_weights_nbytes(const ur_spec *spec) {
    size_t floats = spec->is_one_hot ? 0 : spec->inputs;
    for (int32_t layer = 0; layer < spec->layers; layer++) {
        layer_weights sizes = layer_sizes(spec, layer);
        packed_sizes packed = packed_sizes_of(ur_selected_kernels(), spec, &sizes);
        floats += (size_t)spec->directions *
                  (base_floats(&sizes, spec) + packed.x[0] + packed.x[1] + packed.state + packed.projection);
    }
    return sizeof(float) * floats +
           sizeof(layer_weights) * (size_t)(spec->layers * spec->directions) + sizeof(ur_weights);
}

/* Packs columns `first` to first + k_count of a (gates * hidden, columns) matrix: block by block of units, part by part,
 * panel by panel, and in a panel k by k. `hidden` are the rows of a gate. */
static void pack(float *to, const ur_kernels *kernels, const float *from, size_t columns, size_t first, size_t k_count,
                 size_t hidden, int32_t cell, size_t first_part, size_t parts) {
    for (size_t unit = 0; unit < hidden; unit += BLOCK_UNITS) {
        size_t units = hidden - unit < BLOCK_UNITS ? hidden - unit : BLOCK_UNITS;
        size_t padded = ur_padded_units(kernels, units);
        for (size_t part = first_part; part < first_part + parts; part++) {
            const float *gate = from + (gate_of(cell, part) * hidden + unit) * columns + first;
            for (size_t at = 0; at < padded; at += kernels->panel) {
                size_t width = padded - at < kernels->panel ? padded - at : kernels->panel;
                for (size_t column = 0; column < width && at + column < units; column++) {
                    const float *row = gate + (at + column) * columns;
                    for (size_t k = 0; k < k_count; k++) to[k * width + column] = row[k];
                }
                to += k_count * width;
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
            const float *inputs = has_input && !layer->x_size[0] ? from->weight_ih + row * spec->inputs : NULL;
            float *to = layer->base + part * hidden + unit;
            for (size_t at = 0; at < layer->base_rows; at++) to[at * stride] = inputs ? inputs[at] + bias : bias;
        }
    }
}

static float *allocate_floats(size_t count) { return ur_allocate(sizeof(float) * count); }

static int fill_layer(layer_weights *layer, const ur_weights *weights, const ur_parameters *from) {
    const ur_spec *spec = &weights->spec;
    const ur_cell_shape shape = ur_shape_of(spec->cell);
    const packed_sizes packed = packed_sizes_of(weights->kernels, spec, layer);
    size_t columns = layer->x_size[0] + layer->x_size[1], state = weights->state_size;
    if (!(layer->base = allocate_floats(base_floats(layer, spec)))) return -1;
    fill_base(layer, spec, from);
    for (int half = 0; half < 2 && layer->x_size[half]; half++) {
        if (!(layer->x[half] = allocate_floats(packed.x[half]))) return -1;
        pack(layer->x[half], weights->kernels, from->weight_ih, columns, half ? layer->x_size[0] : 0, layer->x_size[half],
             spec->hidden, spec->cell, shape.first_input_part, shape.input_parts);
    }
    if (!(layer->state = allocate_floats(packed.state))) return -1;
    pack(layer->state, weights->kernels, from->weight_hh, state, 0, state, spec->hidden, spec->cell, 0, shape.state_parts);
    if (!spec->projection) return 0;
    if (!(layer->projection = allocate_floats(packed.projection))) return -1;
    pack(layer->projection, weights->kernels, from->weight_hr, spec->hidden, 0, spec->hidden, state, UR_RNN_TANH, 0, 1);
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
    if (!spec->is_one_hot && !(weights->zero_vector = allocate_floats(spec->inputs))) status = -1;
    ur_float_mode saved = ur_enter_float_mode();
    for (size_t at = 0; at < count && !status; at++) {
        weights->layers[at] = layer_sizes(spec, (int32_t)at / spec->directions);
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
        const packed_sizes packed = packed_sizes_of(weights->kernels, spec, layer);
        ur_release(layer->base, sizeof(float) * base_floats(layer, spec));
        for (int half = 0; half < 2; half++) ur_release(layer->x[half], sizeof(float) * packed.x[half]);
        ur_release(layer->state, sizeof(float) * packed.state);
        ur_release(layer->projection, sizeof(float) * packed.projection);
    }
    ur_release(weights->zero_vector, sizeof(float) * spec->inputs);
    free(weights);
}
