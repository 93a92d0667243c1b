/* The glue between Predict.java and the C ABI. */
#include <deploykit/deploykit.h>
#include <jni.h>

static int failed(JNIEnv *env, deploykit_error *error) {
  if (!error) return 0;
  (*env)->ThrowNew(env, (*env)->FindClass(env, "java/lang/RuntimeException"), deploykit_error_message(error));
  deploykit_error_free(error);
  return 1;
}

JNIEXPORT jlong JNICALL Java_Predict_open(JNIEnv *env, jclass type, jstring path) {
  const char *text = (*env)->GetStringUTFChars(env, path, NULL);
  deploykit_model *model = NULL;
  (void)type;
  failed(env, deploykit_model_open(text, NULL, &model));
  (*env)->ReleaseStringUTFChars(env, path, text);
  return (jlong)(intptr_t)model;
}

JNIEXPORT jstring JNICALL Java_Predict_predict(JNIEnv *env, jclass type, jlong model, jbyteArray rgb, jint height,
                                               jint width) {
  jbyte *pixels = (*env)->GetByteArrayElements(env, rgb, NULL);
  deploykit_image image = {sizeof image, (const uint8_t *)pixels, height, width, 3, DEPLOYKIT_RGB, 0};
  deploykit_results *results = NULL;
  jstring json = NULL;
  (void)type;
  if (!failed(env, deploykit_predict((deploykit_model *)(intptr_t)model, &image, 1, NULL, &results))) {
    json = (*env)->NewStringUTF(env, deploykit_result_json(results, 0));
  }
  deploykit_results_free(results);
  (*env)->ReleaseByteArrayElements(env, rgb, pixels, JNI_ABORT);
  return json;
}

JNIEXPORT void JNICALL Java_Predict_close(JNIEnv *env, jclass type, jlong model) {
  (void)env;
  (void)type;
  deploykit_model_close((deploykit_model *)(intptr_t)model);
}
