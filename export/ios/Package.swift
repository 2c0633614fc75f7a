// swift-tools-version:5.9
import PackageDescription

let package = Package(
    name: "Classifier",
    platforms: [.iOS(.v15), .macOS(.v12)],
    products: [.library(name: "Classifier", targets: ["Classifier"])],
    dependencies: [
        .package(url: "https://github.com/microsoft/onnxruntime-swift-package-manager", from: "1.20.0")
    ],
    targets: [
        .target(
            name: "Classifier",
            dependencies: [.product(name: "onnxruntime", package: "onnxruntime-swift-package-manager")],
            resources: [.copy("Resources")]
        ),
        .testTarget(name: "ClassifierTests", dependencies: ["Classifier"]),
    ]
)
