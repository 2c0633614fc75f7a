package org.example.classifier

import android.graphics.Bitmap
import android.graphics.ImageDecoder
import android.net.Uri
import android.os.Build
import android.os.Bundle
import android.os.SystemClock
import android.provider.MediaStore
import android.widget.Button
import android.widget.ImageView
import android.widget.LinearLayout
import android.widget.TextView
import androidx.activity.ComponentActivity
import androidx.activity.result.PickVisualMediaRequest
import androidx.activity.result.contract.ActivityResultContracts.PickVisualMedia
import androidx.activity.result.contract.ActivityResultContracts.TakePicturePreview
import java.util.concurrent.Executors

/** Classifies a picture that is picked or taken. */
class MainActivity : ComponentActivity() {
    private val worker = Executors.newSingleThreadExecutor()
    private lateinit var classifier: Classifier
    private lateinit var picture: ImageView
    private lateinit var answer: TextView

    private val pick = registerForActivityResult(PickVisualMedia()) { uri -> uri?.let { classify { decoded(it) } } }
    private val take = registerForActivityResult(TakePicturePreview()) { image -> image?.let { classify { it } } }

    override fun onCreate(savedInstanceState: Bundle?) {
        super.onCreate(savedInstanceState)
        picture = ImageView(this)
        answer = TextView(this)
        val choose =
            Button(this).apply {
                text = "Choose a picture"
                setOnClickListener { pick.launch(PickVisualMediaRequest(PickVisualMedia.ImageOnly)) }
            }
        val photograph =
            Button(this).apply {
                text = "Take a picture"
                setOnClickListener { take.launch(null) }
            }
        val column = LinearLayout(this).apply { orientation = LinearLayout.VERTICAL }
        listOf(choose, photograph, answer, picture).forEach(column::addView)
        setContentView(column)
        inBackground {
            classifier = Classifier(assets)
            classifier.checkGolden()
            "ready"
        }
    }

    private fun classify(image: () -> Bitmap) =
        inBackground {
            val bitmap = image()
            runOnUiThread { picture.setImageBitmap(bitmap) }
            val start = SystemClock.elapsedRealtimeNanos()
            val best = classifier.classify(bitmap)
            val latencyMs = (SystemClock.elapsedRealtimeNanos() - start) / 1e6
            best.joinToString("\n") { (label, share) -> "%s %.1f %%".format(label, 100 * share) } + "\n%.1f ms".format(latencyMs)
        }

    /** Shows what the work returns, or why it could not be done. */
    private fun inBackground(work: () -> String) {
        worker.execute {
            val text = runCatching(work).getOrElse { "error: ${it.message}" }
            runOnUiThread { answer.text = text }
        }
    }

    private fun decoded(uri: Uri): Bitmap {
        if (Build.VERSION.SDK_INT < Build.VERSION_CODES.P) {
            @Suppress("DEPRECATION")
            return MediaStore.Images.Media.getBitmap(contentResolver, uri)
        }
        val source = ImageDecoder.createSource(contentResolver, uri)
        return ImageDecoder.decodeBitmap(source) { decoder, _, _ ->
            decoder.allocator = ImageDecoder.ALLOCATOR_SOFTWARE // pixels of a hardware bitmap cannot be read
        }
    }

    override fun onDestroy() {
        super.onDestroy()
        worker.execute { if (::classifier.isInitialized) classifier.close() }
        worker.shutdown()
    }
}
