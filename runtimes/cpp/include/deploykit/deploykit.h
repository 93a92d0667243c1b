/* deploykit for C, and for every language that can call C.
 *
 *   #include <deploykit/deploykit.h>
 *
 *   deploykit_model *model = NULL;
 *   deploykit_results *results = NULL;
 *   deploykit_image image = {sizeof image, pixels, height, width, 3, DEPLOYKIT_RGB, 0};
 *
 *   deploykit_error *error = deploykit_model_open("yolo.onnx", NULL, &model);
 *   if (!error) error = deploykit_predict(model, &image, 1, NULL, &results);
 *   if (error) {
 *     fprintf(stderr, "%s\n", deploykit_error_message(error));
 *     deploykit_error_free(error);
 *   } else {
 *     deploykit_detection found;
 *     for (size_t i = 0; i < deploykit_detection_count(results, 0); ++i) {
 *       deploykit_detection_get(results, 0, i, &found);
 *       printf("%s %.2f\n", found.name, found.score);
 *     }
 *   }
 *   deploykit_results_free(results);
 *   deploykit_model_close(model);
 *
 * Rules of every call:
 *   - A function that can fail returns NULL, or an error that the caller frees.
 *   - *_free and *_close take NULL. What a getter returns belongs to the object it was asked of.
 *   - Pixels, feeds and texts that are passed in stay the caller's and are not kept, but for
 *     deploykit_predict_async.
 *   - A model may be used by many threads at once; results, tensors and reports by one at a time.
 *   - The first member of a struct that is passed in is its size, so that later versions can add members.
 */
#ifndef DEPLOYKIT_DEPLOYKIT_H
#define DEPLOYKIT_DEPLOYKIT_H

#include <stddef.h>
#include <stdint.h>

#include "deploykit/config.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct deploykit_model deploykit_model;
typedef struct deploykit_results deploykit_results;
typedef struct deploykit_tensors deploykit_tensors;
typedef struct deploykit_report deploykit_report;
typedef struct deploykit_error deploykit_error;

/* Codes of errors. */
enum {
  DEPLOYKIT_OTHER = 1,
  DEPLOYKIT_OPTION = 2,
  DEPLOYKIT_MODEL = 5,
  DEPLOYKIT_DEPENDENCY = 6,
  DEPLOYKIT_RUNTIME_UNAVAILABLE = 7,
  DEPLOYKIT_INPUT = 8
};

enum { DEPLOYKIT_RGB = 0, DEPLOYKIT_BGR = 1 };

/* Tasks, in the order of docs/spec.md. */
enum {
  DEPLOYKIT_CLASSIFY,
  DEPLOYKIT_DETECT,
  DEPLOYKIT_SEGMENT,
  DEPLOYKIT_POSE,
  DEPLOYKIT_OBB,
  DEPLOYKIT_FEATURES
};

/* Element types of tensors. */
enum {
  DEPLOYKIT_FLOAT32,
  DEPLOYKIT_FLOAT16,
  DEPLOYKIT_FLOAT64,
  DEPLOYKIT_UINT8,
  DEPLOYKIT_INT8,
  DEPLOYKIT_UINT16,
  DEPLOYKIT_INT16,
  DEPLOYKIT_INT32,
  DEPLOYKIT_INT64,
  DEPLOYKIT_UINT32,
  DEPLOYKIT_UINT64,
  DEPLOYKIT_BOOL,
  DEPLOYKIT_OTHER_TYPE
};

typedef struct {
  size_t size;
  const char *device; /* "cpu" (also where NULL), "cuda", "tensorrt" */
  int threads;        /* 0: every usable core */
  int strict;         /* 1: refuse a model of which any node runs elsewhere */
  int gpu;
  int workers;           /* threads for asynchronous calls; 0: one */
  const char *cache;     /* folder for TensorRT engines; NULL: the user's cache folder */
  const char *goal;      /* "latency" (also where NULL), "throughput" */
  const char *precision; /* "model" (also where NULL), "auto" */
  int cuda_graph;        /* 1: record the GPU's work once per shape and replay it */
  const char *outputs;   /* what the outputs of another exporter's file mean, "yolov5"; NULL: what the file tells */
  int exact;             /* 1: run the file's own graph, node for node; 0: an INT8 file may get a faster form of it */
} deploykit_options;

/* Start from deploykit_predict_defaults(). */
typedef struct {
  size_t size;
  int64_t top_k;   /* 0: the model's own */
  double conf;     /* negative: the model's own */
  double iou;      /* negative: the model's own */
  int64_t max_det; /* 0: the model's own */
  int64_t height;  /* of the input of a dynamic model; 0: its own */
  int64_t width;
  int64_t batch; /* most images to run at once; 0: 8 */
} deploykit_predict_options;

/* uint8 pixels, row by row, read in place. */
typedef struct {
  size_t size;
  const uint8_t *pixels;
  int64_t height;
  int64_t width;
  int64_t channels;  /* 3, 4 (the last is ignored), 1, or as many as the model has */
  int order;         /* DEPLOYKIT_RGB or DEPLOYKIT_BGR */
  int64_t row_bytes; /* 0: rows follow each other */
} deploykit_image;

typedef struct {
  int64_t class_id;
  const char *name; /* belongs to the results */
  float score;
} deploykit_class_score;

typedef struct {
  int64_t class_id;
  const char *name; /* belongs to the results */
  float score;
  float box[4];     /* x1, y1, x2, y2 in pixels of the image */
  float rotated[5]; /* obb: centre x, centre y, width, height, angle in radians; otherwise 0 */
} deploykit_detection;

typedef struct {
  size_t size;
  const char *name;
  int type;
  const int64_t *shape;
  size_t axes;
  const void *data; /* contiguous, read in place */
} deploykit_feed;

typedef struct {
  const char *name;
  int type;
  const int64_t *shape;
  size_t axes;
  const void *data; /* belongs to the tensors */
} deploykit_tensor;

DEPLOYKIT_API const char *deploykit_version(void);
/* Name ONNX Runtime's library file, before the first model is opened. */
DEPLOYKIT_API deploykit_error *deploykit_use_onnxruntime(const char *library);

DEPLOYKIT_API int deploykit_error_code(const deploykit_error *error);
DEPLOYKIT_API const char *deploykit_error_message(const deploykit_error *error); /* problem and hint */
DEPLOYKIT_API const char *deploykit_error_problem(const deploykit_error *error);
DEPLOYKIT_API const char *deploykit_error_hint(const deploykit_error *error);
DEPLOYKIT_API void deploykit_error_free(deploykit_error *error);

/* `options` may be NULL. The caller closes the model. */
DEPLOYKIT_API deploykit_error *deploykit_model_open(const char *path, const deploykit_options *options,
                                                    deploykit_model **model);
/* Waits for asynchronous calls that still run. */
DEPLOYKIT_API void deploykit_model_close(deploykit_model *model);
DEPLOYKIT_API int deploykit_model_task(const deploykit_model *model);
DEPLOYKIT_API int64_t deploykit_model_class_count(const deploykit_model *model);
/* NULL where the model names no such class. */
DEPLOYKIT_API const char *deploykit_model_class_name(const deploykit_model *model, int64_t class_id);
/* A value of the file's metadata by its key in docs/spec.md, such as "deploykit.family"; NULL where the
 * file has none. */
DEPLOYKIT_API const char *deploykit_model_metadata(const deploykit_model *model, const char *key);
/* Nodes that run on an execution provider, such as "CPUExecutionProvider". */
DEPLOYKIT_API int64_t deploykit_model_nodes_on(const deploykit_model *model, const char *provider);
/* What really runs, as Python's Placement.to_dict(): "engine", "precision", "rewrites", ... */
DEPLOYKIT_API const char *deploykit_model_placement(const deploykit_model *model);
/* What speaks against running this file here, such as another engine that it was made for; empty: nothing. */
DEPLOYKIT_API const char *deploykit_model_advice(const deploykit_model *model);

DEPLOYKIT_API deploykit_predict_options deploykit_predict_defaults(void);
/* `options` may be NULL. One result per image, in their order; the caller frees the results. */
DEPLOYKIT_API deploykit_error *deploykit_predict(const deploykit_model *model, const deploykit_image *images,
                                                 size_t count, const deploykit_predict_options *options,
                                                 deploykit_results **results);
/* Exactly one of results and error is not NULL; the callback owns it and frees it. It is called from
 * another thread and must not throw or close the model. */
typedef void (*deploykit_callback)(void *user, deploykit_results *results, deploykit_error *error);
/* Returns at once. The pixels must stay where they are until the callback. */
DEPLOYKIT_API deploykit_error *deploykit_predict_async(const deploykit_model *model, const deploykit_image *image,
                                                       const deploykit_predict_options *options,
                                                       deploykit_callback done, void *user);

DEPLOYKIT_API void deploykit_results_free(deploykit_results *results);
DEPLOYKIT_API size_t deploykit_result_count(const deploykit_results *results);
/* The document of one result, as Python's Result.to_dict(); NULL where the index is too large. */
DEPLOYKIT_API const char *deploykit_result_json(deploykit_results *results, size_t index);
DEPLOYKIT_API size_t deploykit_class_score_count(const deploykit_results *results, size_t index);
DEPLOYKIT_API size_t deploykit_detection_count(const deploykit_results *results, size_t index);
/* These return 1, or 0 where there is no such item; `found` is then untouched. */
DEPLOYKIT_API int deploykit_class_score_get(const deploykit_results *results, size_t index, size_t item,
                                            deploykit_class_score *found);
DEPLOYKIT_API int deploykit_detection_get(const deploykit_results *results, size_t index, size_t item,
                                          deploykit_detection *found);
/* segment: 0 or 1 for every pixel of the image, row by row; NULL for other tasks. */
DEPLOYKIT_API const uint8_t *deploykit_detection_mask(const deploykit_results *results, size_t index, size_t item);
/* pose: `points` times `dims` values; NULL for other tasks. */
DEPLOYKIT_API const float *deploykit_detection_keypoints(const deploykit_results *results, size_t index, size_t item,
                                                         size_t *points, size_t *dims);

/* Run the graph on tensors. The caller frees what comes out. */
DEPLOYKIT_API deploykit_error *deploykit_infer(const deploykit_model *model, const deploykit_feed *feeds,
                                               size_t count, deploykit_tensors **tensors);
DEPLOYKIT_API void deploykit_tensors_free(deploykit_tensors *tensors);
DEPLOYKIT_API size_t deploykit_tensor_count(const deploykit_tensors *tensors);
DEPLOYKIT_API int deploykit_tensor_get(const deploykit_tensors *tensors, size_t index, deploykit_tensor *found);

/* Runs the golden cases that the file carries, and compares with what its checkpoint answered. A failed test is a
 * report, not an error; a file without golden cases is an error, DEPLOYKIT_MODEL. The caller frees the report. */
DEPLOYKIT_API deploykit_error *deploykit_self_test(const deploykit_model *model, deploykit_report **report);
DEPLOYKIT_API void deploykit_report_free(deploykit_report *report);
/* 1: a case ran, and every one that did is within its tolerances. */
DEPLOYKIT_API int deploykit_report_ok(const deploykit_report *report);
/* Which case failed, and by how much; empty where none did. */
DEPLOYKIT_API const char *deploykit_report_problem(const deploykit_report *report);
/* One line. */
DEPLOYKIT_API const char *deploykit_report_summary(const deploykit_report *report);
DEPLOYKIT_API size_t deploykit_report_case_count(const deploykit_report *report);
/* Every case and output, as Python's SelfTest.to_dict(); NULL where there is no report. */
DEPLOYKIT_API const char *deploykit_report_json(const deploykit_report *report);

#ifdef __cplusplus
}
#endif

#endif
