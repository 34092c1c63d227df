// Which librabbitmq may be used.
import Testing

@testable import AMQP

@Suite("librabbitmq's version")
struct LibraryVersionTests {
    @Test("Is read from the library's number")
    func readsNumber() {
        // amqp.h: major, minor, patch, and whether it is a release.
        #expect(LibraryVersion(number: 0x000B_0001) == LibraryVersion(major: 0, minor: 11, patch: 0))
        #expect(LibraryVersion(number: 0x010F_0201).description == "1.15.2")
    }

    @Test("The loaded one serves; older ones are refused by name")
    func refusesOld() throws {
        try LibraryVersion.loaded.mustServe()
        try LibraryVersion(major: 0, minor: 11, patch: 0).mustServe()
        try LibraryVersion(major: 1, minor: 0, patch: 0).mustServe()
        for old in [LibraryVersion(major: 0, minor: 10, patch: 9), LibraryVersion(major: 0, minor: 8, patch: 0)] {
            let error = #expect(throws: AMQPError.self) { try old.mustServe() }
            #expect("\(try #require(error))".contains("librabbitmq \(old) is loaded"))
        }
    }
}
