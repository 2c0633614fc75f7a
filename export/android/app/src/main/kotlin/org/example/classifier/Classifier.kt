package org.example.classifier

import android.content.res.AssetManager
import android.graphics.Bitmap
import android.graphics.BitmapFactory
import android.graphics.Color
import org.json.JSONArray
import org.json.JSONObject
import org.tensorflow.lite.DataType
import org.tensorflow.lite.Interpreter
import org.tensorflow.lite.Tensor
import java.io.Closeable
import java.nio.ByteBuffer
import java.nio.ByteOrder
import kotlin.math.abs
import kotlin.math.exp
import kotlin.math.min
import kotlin.math.roundToInt

/** The model of the assets with its labels and preprocessing. Use it from one thread at a time. */
class Classifier(
    private val assets: AssetManager,
    threads: Int = 1,
) : Closeable {
    private val golden = JSONObject(text("golden.json"))
    private val how = JSONObject(text("preprocessing.json"))
    private val labels = text("labels.txt").trimEnd().lines()
    private val mean = floats(how.getJSONArray("mean"))
    private val std = floats(how.getJSONArray("std"))
    private val interpreter = Interpreter(model(), Interpreter.Options().setNumThreads(threads))

    /** Throws where this device computes something else than the machine that exported the model. */
    fun checkGolden() {
        val options = BitmapFactory.Options().apply { inScaled = false }
        val image = assets.open(golden.getString("image")).use { BitmapFactory.decodeStream(it, null, options) }
        val found = logits(checkNotNull(image) { "the golden picture cannot be read" })
        val expected = floats(golden.getJSONArray("logits"))
        val error = expected.indices.maxOf { abs(found[it] - expected[it]) } / expected.maxOf { abs(it) }
        check(error <= golden.getDouble("max_relative_error")) {
            "the golden picture gives other values than expected: $error relative"
        }
    }

    /** The likeliest classes and their shares. */
    fun classify(
        image: Bitmap,
        top: Int = 3,
    ): List<Pair<String, Float>> {
        val logits = logits(image)
        val largest = logits.max()
        val exponentials = logits.map { exp(it - largest) }
        val sum = exponentials.sum()
        return labels.zip(exponentials.map { it / sum }).sortedByDescending { it.second }.take(top)
    }

    private fun logits(image: Bitmap): FloatArray {
        val input = interpreter.getInputTensor(0)
        val output = interpreter.getOutputTensor(0)
        val answer = buffer(output)
        interpreter.run(filled(input, preprocessed(image)), answer)
        answer.rewind()
        return FloatArray(labels.size) { real(answer, output) }
    }

    /** Red, green, blue of every pixel, row by row: the centred square, resized, cut, normalised. */
    private fun preprocessed(image: Bitmap): FloatArray {
        val size = how.getInt("resize_shorter_side_px")
        val side = how.getInt("center_crop_px")
        val margin = (size - side) / 2
        val shorter = min(image.width, image.height)
        val square = Bitmap.createBitmap(image, (image.width - shorter) / 2, (image.height - shorter) / 2, shorter, shorter)
        val pixels = IntArray(side * side)
        resized(square, size).getPixels(pixels, 0, side, margin, margin, side, side)
        val values = FloatArray(3 * side * side)
        pixels.forEachIndexed { i, pixel ->
            val channels = intArrayOf(Color.red(pixel), Color.green(pixel), Color.blue(pixel))
            channels.forEachIndexed { c, value -> values[3 * i + c] = (value / 255f - mean[c]) / std[c] }
        }
        return values
    }

    /** Halved until one bilinear step is enough: a single large step would skip pixels. */
    private fun resized(
        square: Bitmap,
        size: Int,
    ): Bitmap {
        var image = square
        while (image.width >= 2 * size) image = Bitmap.createScaledBitmap(image, image.width / 2, image.height / 2, true)
        return if (image.width == size) image else Bitmap.createScaledBitmap(image, size, size, true)
    }

    /** The values as the tensor stores them: integers where it is quantised. */
    private fun filled(
        tensor: Tensor,
        values: FloatArray,
    ): ByteBuffer {
        val target = buffer(tensor)
        if (tensor.dataType() == DataType.FLOAT32) {
            values.forEach { target.putFloat(it) }
        } else {
            val (scale, zeroPoint) = quantisation(tensor)
            values.forEach { target.put(((it / scale).roundToInt() + zeroPoint).coerceIn(-128, 127).toByte()) }
        }
        target.rewind()
        return target
    }

    private fun real(
        stored: ByteBuffer,
        tensor: Tensor,
    ): Float {
        if (tensor.dataType() == DataType.FLOAT32) return stored.getFloat()
        val (scale, zeroPoint) = quantisation(tensor)
        return (stored.get() - zeroPoint) * scale
    }

    private fun quantisation(tensor: Tensor) = tensor.quantizationParams().run { scale to zeroPoint }

    private fun buffer(tensor: Tensor) = ByteBuffer.allocateDirect(tensor.numBytes()).order(ByteOrder.nativeOrder())

    private fun model(): ByteBuffer {
        val content = assets.open(golden.getString("model")).use { it.readBytes() }
        val buffer = ByteBuffer.allocateDirect(content.size).order(ByteOrder.nativeOrder())
        buffer.put(content).rewind()
        return buffer
    }

    private fun text(name: String) = assets.open(name).bufferedReader().use { it.readText() }

    private fun floats(array: JSONArray) = FloatArray(array.length()) { array.getDouble(it).toFloat() }

    override fun close() = interpreter.close()
}
