import XCTest

@testable import Classifier

final class ClassifierTests: XCTestCase {
    func testTheGoldenPictureGivesTheExpectedValues() throws {
        try Classifier().checkGolden()
    }
}
