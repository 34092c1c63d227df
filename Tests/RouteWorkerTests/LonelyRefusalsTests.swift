// When a refusal that looks like the whole org's trouble is one command's own.

import InteractionAPI
import RoutingContract
import Testing

@testable import RouteWorker

@Suite struct LonelyRefusalsTests {
    private var refusals = LonelyRefusals()
    private let refused = Verdict.configuration(CommandError(code: 15104, message: "no", reason: "no"))

    private func key(_ number: Int, _ kind: CommandKind = .route) -> CommandKey {
        let digits = String(repeating: "0", count: 12 - "\(number)".count) + "\(number)"
        return CommandKey(
            org: OrgID("00D000000000001")!, kind: kind, request: RequestID("6f1c2a3e-0d4b-4c5a-9e8f-\(digits)")!)
    }

    /// Refused so often; a route succeeded after each time.
    private mutating func refuse(_ key: CommandKey, times: Int) {
        for _ in 0..<times {
            refusals.called(for: key, refused)
            refusals.called(for: self.key(99), .succeeded)
        }
    }

    @Test mutating func itIsOfWhatIsRefusedAgainAndAgainWhileOthersSucceed() {
        refuse(key(1), times: LonelyRefusals.limit - 1)
        #expect(!refusals.isOwnTrouble(of: key(1)))
        refuse(key(1), times: 1)
        #expect(refusals.isOwnTrouble(of: key(1)) && !refusals.isOwnTrouble(of: key(2)))
    }

    @Test mutating func whereNothingElseSucceedsItIsTheOrg() {
        for _ in 0..<100 { refusals.called(for: key(1), refused) }
        #expect(!refusals.isOwnTrouble(of: key(1)))
    }

    @Test mutating func whatAnotherKindMeetsSaysNothing() {
        for _ in 0..<100 {
            refusals.called(for: key(1), refused)
            refusals.called(for: key(2, .delete), .succeeded)
        }
        #expect(!refusals.isOwnTrouble(of: key(1)))
    }

    @Test mutating func whoeverSucceedsInTheEndIsForgotten() {
        refuse(key(1), times: LonelyRefusals.limit)
        refusals.called(for: key(1), .succeeded)
        #expect(!refusals.isOwnTrouble(of: key(1)))
    }

    @Test mutating func theyAreBounded() {
        for number in 0..<3 * LonelyRefusals.maximum { refusals.called(for: key(number), refused) }
        #expect(refusals.count <= LonelyRefusals.maximum)
    }
}
