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

    /// What each refusal of a command is taken for, after what happened before it.
    private mutating func refuse(
        _ key: CommandKey, times: Int, after: (inout LonelyRefusals) -> Void = { _ in }
    ) -> [LonelyRefusals.Trouble] {
        (0..<times).map { _ in
            after(&refusals)
            let trouble = refusals.trouble(of: key)
            refusals.called(for: key, refused)
            return trouble
        }
    }

    @Test mutating func itIsOfWhatIsRefusedAgainAndAgainWhileOthersSucceed() {
        let other = key(2)
        let troubles = refuse(key(1), times: LonelyRefusals.limit + 1) { $0.called(for: other, .succeeded) }
        #expect(troubles.first == .orgs && troubles.last == .itsOwn)
        #expect(troubles.dropFirst().dropLast().allSatisfy { $0 == .perhapsItsOwn })
        #expect(refusals.trouble(of: other) == .orgs)
    }

    @Test mutating func whereNobodyElseIsCalledForItLetsOthersGoFirstNowAndThen() {
        #expect(refuse(key(1), times: 5) == [.orgs, .perhapsItsOwn, .orgs, .perhapsItsOwn, .orgs])
    }

    @Test mutating func whereOthersAreRefusedTooItIsTheOrg() {
        let (other, refused) = (key(2), refused)
        let troubles = refuse(key(1), times: 20) { $0.called(for: other, refused) }
        #expect(troubles.allSatisfy { $0 == .orgs })
    }

    @Test mutating func whatAnotherKindMeetsSaysNothing() {
        let other = key(2, .delete)
        let troubles = refuse(key(1), times: 20) { $0.called(for: other, .succeeded) }
        #expect(!troubles.contains(.itsOwn) && troubles.count { $0 == .orgs } == 10)
    }

    @Test mutating func whoeverSucceedsInTheEndIsForgotten() {
        let other = key(2)
        _ = refuse(key(1), times: LonelyRefusals.limit + 1) { $0.called(for: other, .succeeded) }
        refusals.called(for: key(1), .succeeded)
        #expect(refusals.trouble(of: key(1)) == .orgs)
    }

    @Test mutating func theyAreBounded() {
        for number in 0..<3 * LonelyRefusals.maximum { refusals.called(for: key(number), refused) }
        #expect(refusals.count <= LonelyRefusals.maximum)
    }
}
