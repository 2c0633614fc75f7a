import CoreGraphics
import Foundation
import ImageIO
import OnnxRuntimeBindings

/// What keeps a classifier from working.
public enum ClassifierError: Error {
    case missing(String)
    case unreadableImage
    case goldenDiffers(relativeError: Float)
}

struct Preprocessing: Decodable {
    let resize_shorter_side_px: Int
    let center_crop_px: Int
    let mean: [Float]
    let std: [Float]
}

struct Golden: Decodable {
    let image: String
    let model: String
    let max_relative_error: Float
    let logits: [Float]
}

/// The model of the package's resources with its labels and preprocessing. Use it from one thread at a time.
public final class Classifier {
    public let labels: [String]
    let preprocessing: Preprocessing
    let golden: Golden
    private let session: ORTSession
    private let inputName: String
    private let outputName: String

    /// Throws where this device computes something else than the machine that exported the model.
    public convenience init(threads: Int32 = 1) throws {
        try self.init(threads: threads, golden: Classifier.decoded("golden.json"))
    }

    init(threads: Int32 = 1, golden: Golden) throws {
        self.golden = golden
        preprocessing = try Classifier.decoded("preprocessing.json")
        labels = try String(contentsOf: Classifier.resource("labels.txt"), encoding: .utf8)
            .split(separator: "\n").map(String.init)
        let options = try ORTSessionOptions()
        try options.setIntraOpNumThreads(threads)
        let environment = try ORTEnv(loggingLevel: .warning)
        session = try ORTSession(env: environment, modelPath: Classifier.resource(golden.model).path, sessionOptions: options)
        inputName = try session.inputNames()[0]
        outputName = try session.outputNames()[0]
        try checkGolden()
    }

    private func checkGolden() throws {
        guard let source = CGImageSourceCreateWithURL(try Classifier.resource(golden.image) as CFURL, nil),
            let image = CGImageSourceCreateImageAtIndex(source, 0, nil)
        else { throw ClassifierError.unreadableImage }
        let found = try logits(of: image)
        let differences = zip(found, golden.logits).map { abs($0 - $1) }
        let largest = golden.logits.map(abs).max() ?? 0
        // `max` would pass over what is not a number
        let isComparable = found.count == golden.logits.count && !differences.contains { $0.isNaN }
        let error = isComparable ? (differences.max() ?? .infinity) / largest : .infinity
        guard error <= golden.max_relative_error else { throw ClassifierError.goldenDiffers(relativeError: error) }
    }

    /// The likeliest classes and their shares.
    public func classify(_ image: CGImage, top: Int = 3) throws -> [(label: String, share: Float)] {
        let found = try logits(of: image)
        let largest = found.max() ?? 0
        let exponentials = found.map { exp($0 - largest) }
        let sum = exponentials.reduce(0, +)
        let shares = zip(labels, exponentials.map { $0 / sum })
        return shares.sorted { $0.1 > $1.1 }.prefix(top).map { (label: $0.0, share: $0.1) }
    }

    func logits(of image: CGImage) throws -> [Float] {
        var values = try preprocessed(image)
        let side = NSNumber(value: preprocessing.center_crop_px)
        let bytes = NSMutableData(bytes: &values, length: values.count * MemoryLayout<Float>.stride)
        let input = try ORTValue(tensorData: bytes, elementType: .float, shape: [1, 3, side, side])
        let answers = try session.run(withInputs: [inputName: input], outputNames: [outputName], runOptions: nil)
        guard let answer = answers[outputName] else { throw ClassifierError.missing(outputName) }
        let data = try answer.tensorData() as Data
        return data.withUnsafeBytes { Array($0.bindMemory(to: Float.self)) }
    }

    /// (3, side, side), normalised: the centred square, resized, cut.
    func preprocessed(_ image: CGImage) throws -> [Float] {
        let size = preprocessing.resize_shorter_side_px
        let side = preprocessing.center_crop_px
        let margin = (size - side) / 2
        let shorter = min(image.width, image.height)
        let box = CGRect(
            x: (image.width - shorter) / 2, y: (image.height - shorter) / 2, width: shorter, height: shorter)
        let space = image.colorSpace?.model == .rgb ? image.colorSpace! : CGColorSpaceCreateDeviceRGB()
        guard let square = image.cropping(to: box) else { throw ClassifierError.unreadableImage }
        var pixels = [UInt8](repeating: 0, count: 4 * size * size)
        let isDrawn = pixels.withUnsafeMutableBytes { bytes -> Bool in
            // the context writes to this memory until it is gone, so it must not leave the closure
            guard
                let context = CGContext(
                    data: bytes.baseAddress, width: size, height: size, bitsPerComponent: 8, bytesPerRow: 4 * size,
                    space: space, bitmapInfo: CGImageAlphaInfo.noneSkipLast.rawValue)
            else { return false }
            context.interpolationQuality = .high
            context.draw(square, in: CGRect(x: 0, y: 0, width: size, height: size))
            return true
        }
        guard isDrawn else { throw ClassifierError.unreadableImage }
        var values = [Float](repeating: 0, count: 3 * side * side)
        for channel in 0..<3 {
            for y in 0..<side {
                for x in 0..<side {
                    let value = Float(pixels[4 * ((y + margin) * size + x + margin) + channel]) / 255
                    values[(channel * side + y) * side + x] =
                        (value - preprocessing.mean[channel]) / preprocessing.std[channel]
                }
            }
        }
        return values
    }

    // not `Self`: an initialiser uses these before every property has a value
    static func decoded<Content: Decodable>(_ name: String) throws -> Content {
        try JSONDecoder().decode(Content.self, from: Data(contentsOf: resource(name)))
    }

    static func resource(_ name: String) throws -> URL {
        guard let url = Bundle.module.url(forResource: name, withExtension: nil, subdirectory: "Resources") else {
            throw ClassifierError.missing(name)
        }
        return url
    }
}
