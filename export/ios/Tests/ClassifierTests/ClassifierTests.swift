import XCTest

@testable import Classifier

final class ClassifierTests: XCTestCase {
    func testTheGoldenPictureGivesTheExpectedValues() throws {
        XCTAssertNoThrow(try Classifier())
    }

    func testAClassifierThatComputesSomethingElseIsNotMade() throws {
        let golden: Golden = try Classifier.decoded("golden.json")
        let other = Golden(
            image: golden.image, model: golden.model, max_relative_error: golden.max_relative_error,
            logits: golden.logits.map { -$0 })
        XCTAssertThrowsError(try Classifier(golden: other)) { error in
            guard case ClassifierError.goldenDiffers = error else { return XCTFail("\(error)") }
        }
    }
}
