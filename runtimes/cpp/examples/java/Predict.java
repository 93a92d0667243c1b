// The C ABI from Java, through JNI.   java -Djava.library.path=BUILD/examples Predict.java model.onnx photo.png
import java.awt.image.BufferedImage;
import java.io.File;
import javax.imageio.ImageIO;

public class Predict {
  static {
    System.loadLibrary("deploykit_jni");
  }

  // A failure of the library arrives as a RuntimeException with its text.
  static native long open(String path);
  static native String predict(long model, byte[] rgb, int height, int width);
  static native void close(long model);

  static byte[] pixels(BufferedImage image) {
    byte[] rgb = new byte[3 * image.getWidth() * image.getHeight()];
    int at = 0;
    for (int y = 0; y < image.getHeight(); y++) {
      for (int x = 0; x < image.getWidth(); x++) {
        int pixel = image.getRGB(x, y);
        rgb[at++] = (byte) (pixel >> 16);
        rgb[at++] = (byte) (pixel >> 8);
        rgb[at++] = (byte) pixel;
      }
    }
    return rgb;
  }

  public static void main(String[] arguments) throws Exception {
    if (arguments.length != 2) {
      System.err.println("usage: Predict MODEL IMAGE");
      System.exit(2);
    }
    BufferedImage image = ImageIO.read(new File(arguments[1]));
    long model = open(arguments[0]);
    try {
      System.out.println(predict(model, pixels(image), image.getHeight(), image.getWidth()));
    } finally {
      close(model);
    }
  }
}
