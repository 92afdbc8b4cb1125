/* Adds a row of a table to y. */
static void packed_row(packed table, size_t row, float *y, size_t width)
{
    table.at = row * width * table.bits;
    for (size_t i = 0; i < width; i++) y[i] += step_of(table.steps[row]) * next_value(&table);
}
