// When certificates end, as far as files say so.

import Foundation
import RoutingContract
import Testing

@testable import InteractionAPI

@Suite struct CertificateFileTests {
    @Test("The first end counts; what is no file with certificates says nothing")
    func ends() throws {
        let certificates = try Certificates.shared.get()
        let end = try #require(CertificateFile.firstEnd(in: certificates.authorityFile))
        let now = Timestamp(milliseconds: Int64(Date().timeIntervalSince1970 * 1000))
        #expect(end > now + .seconds(86_400) && end < now + .seconds(3 * 86_400))

        let folder = URL(filePath: certificates.authorityFile).deletingLastPathComponent()
        let both = folder.appending(path: "both.pem")
        let parts = try ["good.key", "ca.pem", "expired.pem"].map { try Data(contentsOf: folder.appending(path: $0)) }
        try Data(parts.joined()).write(to: both)
        #expect(try #require(CertificateFile.firstEnd(in: both.path())) < now)

        for path in [folder.appending(path: "good.key").path(), folder.path(), "/nowhere", "/dev/null"] {
            #expect(CertificateFile.firstEnd(in: path) == nil)
        }
    }
}
