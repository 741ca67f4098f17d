package host

// What can go wrong with a process that speaks go-plugin, and the test that keeps it from
// doing so. "Trouble" is TestTroubleOfOneListIsNotThatOfAnother, "reload" is
// TestAReloadThatFailsDisturbsNobody, "closing" is TestClosingDoesNotWaitForAStoppedProcess:
// in the first two, posts of another list go through all the while, in time, and none is
// lost; all three see that Close is quick and leaves no process.
//
//	trap                                    test
//	crashes at start                        reload/exits; TestAProgramThatDoesNotStartSaysWhy; TestAPluginThatDoesNotComeBackIsDown
//	runs out of time at a stopped process   trouble/it is stopped by a signal, with posts at it
//	takes more than it declared             TestAPluginThatTakesMoreThanItDeclaredIsRefused; wire: TestWhatIsNotDeclaredIsRefused
//	limits, and what is inherited           TestTheKernelHoldsAPluginToItsLimits; TestAPluginInheritsNothingThatItDoesNotNeed
//	crashes at a post, or at every n-th     trouble; TestOnlyThePostThatKillsAPluginIsToBlame; TestAPoisonWhosePluginStaysDownIsCharged
//	hangs, at start or at a post            reload/slow, silent; trouble; TestAPostBesideOneThatHangsLosesNothing
//	leaks memory                            trouble; TestAPluginThatEatsMemoryDiesAlone
//	floods its log                          trouble; TestAPluginThatFloodsItsLogStillWorks; TestAFloodOfLinesIsCounted
//	answers garbage, or no gRPC             trouble; reload/babble, stranger; TestNonsenseIsAnErrorThatLeavesThePostAlone
//	wrong version, cookie or protocol       reload/old, netrpc; TestAProgramThatDoesNotStartSaysWhy
//	a child holds its pipes                 trouble; closing; TestAChildOfAPluginGoesWithIt
//	a child left its group, with the pipes  trouble; closing (the child lives on: only a control group holds it)
//	SIGSTOP, go-plugin's endless Kill       trouble; closing; TestAPluginThatAnswersNothingIsReplaced
//	replaced on disk while running          TestAProgramReplacedOnDiskServesUntilItEnds; TestAPinnedProgramMustBeTheOneThatWasChecked
//	JSON on stderr panics the host          TestOutputOfAPluginGoesToTheLog; TestLinesOfAPluginBecomeRecords; FuzzStderr
//	the host is killed with SIGKILL         TestNoPluginOutlivesAHostThatIsKilled; TestWithoutARunDirectoryAKilledHostIsCleanedUpAfter
//	Shutdown cuts running calls             TestCloseWaitsForPostsButNotForEver; TestReloadUnderLoadLosesNothing
//	a call cut by this side says Canceled   TestAConnectionClosedByThisSideCountsAsADeath
//	gRPC's 4 MiB                            TestARequestOfFiveMegabytesArrives
//	a handler panics                        TestAHandlerThatFailsCostsOneAttempt
//	the environment is inherited            TestAPluginSeesNoSecretsOfItsHost
//	sockets stay, or lie in the open        TestTheSocketGoesWithItsProcess; TestALongTemporaryDirectoryIsNotUsedForSockets
//	a client cannot be started twice        TestAnIdlePluginThatIsKilledComesBack; TestAHundredReloadsLeaveNothing
//	standard output blocks unread           TestOutputOfAPluginGoesToTheLog
//
// Reattaching, and go-plugin's broker, are not used: no plugin outlives its host, and what
// plugins ask goes over a socket of our own.
