/* rbe/rbe.h - all headers of the library at once. */
#ifndef RBE_RBE_H
#define RBE_RBE_H

#include "rbe/adapt.h"
#include "rbe/base.h"
#include "rbe/checkpoint.h"
#include "rbe/codec.h"
#include "rbe/comm.h"
#include "rbe/data.h"
#include "rbe/export.h"
#include "rbe/extend.h"
#include "rbe/gpt.h"
#include "rbe/io.h"
#include "rbe/nn.h"
#include "rbe/op.h"
#include "rbe/optim.h"
#include "rbe/tensor.h"
#include "rbe/train.h"

#endif
